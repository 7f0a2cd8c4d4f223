import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RecordInvalid } from '#core/errors';
import { outcomeInName, type ProofOutcome, proofKey, proofName, readProof, signProof, stateOf } from '#core/proof';

function proof(outcome: ProofOutcome) {
  return signProof({
    format: 1,
    source: 'events',
    id: '20261121T020000Z-7f3a',
    tier: 'daily',
    proof: proofName(new Date('2026-11-21T03:00:00Z'), outcome, 'seed'),
    outcome,
    reason: outcome === 'proven' ? null : 'because',
    differences: [],
    snapshotAt: '2026-11-21T02:00:01.000Z',
    startedAt: '2026-11-21T03:00:00.000Z',
    finishedAt: '2026-11-21T03:00:10.000Z',
    seconds: 10,
    host: 'h',
    vault: 'here',
    manifest: 'b'.repeat(64),
  });
}

describe('proofs', () => {
  test('what was written is read back, and its outcome stands in its name', () => {
    for (const outcome of ['proven', 'disproven', 'inconclusive'] as const) {
      const one = proof(outcome);
      assert.deepEqual(readProof(JSON.stringify(one), proofKey(one)), one);
      assert.equal(outcomeInName(`${one.proof}.json`), outcome);
    }
  });

  test('I15: a proof that was edited, renamed to another outcome, or moved to another backup does not count', () => {
    const one = proof('disproven');
    assert.throws(() => readProof(JSON.stringify({ ...one, outcome: 'proven' }), proofKey(one)), RecordInvalid);
    assert.throws(() => readProof(JSON.stringify(one), proofKey(one).replace('disproven', 'proven')), RecordInvalid);
    assert.throws(() => readProof(JSON.stringify(one), proofKey(one).replace('7f3a', '7f3b')), RecordInvalid);
    assert.throws(() => readProof('{', proofKey(one)), RecordInvalid);
  });

  test('a disproof is never outvoted, and inconclusive is neither green nor red', () => {
    assert.equal(stateOf([]), 'unproven');
    assert.equal(stateOf(['inconclusive']), 'inconclusive');
    assert.equal(stateOf(['inconclusive', 'proven']), 'proven');
    assert.equal(stateOf(['proven', 'disproven', 'proven']), 'disproven');
  });

  test('names that are not ours say nothing', () => {
    for (const name of [
      'proven.json',
      'x-proven.json',
      '20261121T030000Z-ab12-good.json',
      '20261121T030000Z-ab12-proven',
    ])
      assert.equal(outcomeInName(name), null);
  });
});
