/** A thread for jobs in its compiled form: workers need files they can start with. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobThread as JobThreadClass } from "../../src/delta/job-thread.node.ts";

const compiled = new URL("../../dist/delta/job-thread.node.js", import.meta.url).href;
interface Module {
  readonly JobThread: new <Job>(file: URL, data?: unknown) => JobThreadClass<Job>;
}
const { JobThread } = (await import(compiled)) as Module;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "otaforge-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A thread that sends its bytes back, throws, or ends, as it is told. */
function thread(): JobThreadClass<{ what: string; bytes?: Uint8Array }> {
  const file = join(folder, "worker.mjs");
  writeFileSync(
    file,
    `import { answerJobs } from ${JSON.stringify(compiled)};
     answerJobs(async ({ what, bytes }) => {
       if (what === "end") process.exit(1);
       if (what === "throw") throw new Error("thrown there");
       return bytes.map((b) => b + 1);
     });`,
  );
  return new JobThread(pathToFileURL(file));
}

test("gives what the job gives, its failure, and after the thread's own end begins it anew", async () => {
  const jobs = thread();
  const bytes = new Uint8Array([1, 2]);
  expect(await jobs.run({ what: "add", bytes }, [])).toEqual(new Uint8Array([2, 3]));
  expect(bytes).toHaveLength(2);
  await expect(jobs.run({ what: "throw" }, [])).rejects.toThrow("thrown there");
  await expect(jobs.run({ what: "end" }, [])).rejects.toThrow("the thread has ended");
  expect(await jobs.run({ what: "add", bytes }, [bytes])).toEqual(new Uint8Array([2, 3]));
  expect(bytes).toHaveLength(0);
  await jobs.end();
  await jobs.end();
});
