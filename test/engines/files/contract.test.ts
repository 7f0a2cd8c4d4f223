import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { RestoredCopy, SourceRef } from '#core/ports';
import { files } from '#engines/files/engine';
import { engineContract } from '#test/contracts/engine';
import { filesSource, fillOddTree, fillTree, listTree, MARKER, temporary } from '#test/engines/files/trees';

const place = temporary('files-contract');

function tree(fill: (folder: string) => void): SourceRef {
  const folder = join(place.folder(), 'tree');
  mkdirSync(folder);
  fill(folder);
  return filesSource({ paths: [folder] });
}

const pathOf = (source: SourceRef): string => source.settings.files?.paths[0] as string;
const change =
  (work: (folder: string) => void) =>
  async (copy: RestoredCopy): Promise<void> =>
    work(join(copy.where, 'tree'));

engineContract('files', {
  engine: files,
  marker: MARKER,
  switchesAtTheEnd: true,
  start: async () => undefined,
  stop: async () => place.remove(),
  source: async () => tree(fillTree),
  emptySource: async () => tree(() => undefined),
  oddSource: async () => tree(fillOddTree),
  absentSource: async () => filesSource({ paths: [join(place.path, 'nowhere')] }),
  async mutate(source) {
    const folder = pathOf(source);
    appendFileSync(join(folder, 'readme.txt'), 'more');
    writeFileSync(join(folder, 'new'), 'new');
  },
  failures: {
    'the listed directory is moved away': async () => {
      const source = tree(fillTree);
      return {
        source,
        async at(stage) {
          if (stage === 'captured') renameSync(pathOf(source), `${pathOf(source)}.moved`);
        },
      };
    },
  },
  changes: {
    'one byte of a file changed, its time set back': change((folder) => {
      const file = join(folder, 'docs/5.json');
      const text = readFileSync(file, 'utf8');
      rewrite(file, text.replace('5', '6'));
    }),
    'a file is missing': change((folder) => rmSync(join(folder, 'docs/7.json'))),
    'a file is there that should not be': change((folder) => writeFileSync(join(folder, 'empty/extra'), '')),
    'a mode changed': change((folder) => chmodSync(join(folder, 'docs/8.json'), 0o600)),
    'a time changed': change((folder) => utimesSync(join(folder, 'docs/9.json'), 1, 1)),
    'a link points elsewhere': change((folder) => {
      rmSync(join(folder, 'docs/link'));
      symlinkSync('../nothing', join(folder, 'docs/link'));
    }),
    'a hard link became a copy': change((folder) => {
      const hard = join(folder, 'docs/hard');
      copyFileSync(hard, `${hard}.copy`);
      unlinkSync(hard);
      renameSync(`${hard}.copy`, hard);
    }),
    'two files became one': change((folder) => {
      rmSync(join(folder, 'docs/11.json'));
      linkSync(join(folder, 'docs/10.json'), join(folder, 'docs/11.json'));
    }),
    'a directory became a file': change((folder) => {
      rmSync(join(folder, 'empty'), { recursive: true });
      writeFileSync(join(folder, 'empty'), '');
    }),
  },
  placeOf: pathOf,
  contents: async (folder) => listTree(folder),
  emptyTarget: async () => place.folder(),
  async filledTarget() {
    const folder = place.folder();
    mkdirSync(join(folder, 'tree/docs'), { recursive: true });
    writeFileSync(join(folder, 'tree/docs/precious'), 'mine');
    return folder;
  },
  restoredPlace: (target, source) => join(target, basename(pathOf(source))),
});

/** Contents only: times as they were. */
function rewrite(file: string, text: string): void {
  writeFileSync(file, text);
}
