// Cuts a second of a 256 KiB A/B update on all cores: `node bench/rehearse.js [KiB] [threads]`.
import { describeReport } from "../dist/rehearse/index.js";
import { rehearseOnThreads } from "../dist/rehearse/pool.node.js";

const size = Number(process.argv[2] ?? 256) * 1024;
const threads = process.argv[3] === undefined ? {} : { threads: Number(process.argv[3]) };
const module = new URL("../dist/rehearse/sample-job.node.js", import.meta.url).href;
const report = await rehearseOnThreads({ module, data: { size, order: "right" } }, threads);
console.log(`${size / 1024} KiB A/B update`);
console.log(describeReport(report));
