import { runWorker } from '#host/worker-main';

process.exitCode = await runWorker(process.env, process);
