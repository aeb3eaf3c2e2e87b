/** The compiled rehearsal on threads: workers need files they can start with, so this test uses `dist/`. */
import { expect, test } from "vitest";
import type { RehearsalReport } from "../../src/rehearse/index.ts";

interface Pool {
  readonly rehearseOnThreads: (job: { module: string; data: unknown }, options: object) => Promise<RehearsalReport>;
}
const dist = (file: string): string => new URL(`../../dist/rehearse/${file}`, import.meta.url).href;
const { rehearseOnThreads } = (await import(dist("pool.node.js"))) as Pool;
const job = (order: string) => ({ module: dist("sample-job.node.js"), data: { size: 16384, order } });

test("any number of threads gives the same counts and the same first broken step", async () => {
  for (const order of ["right", "in-place"]) {
    const [one, ...others] = await Promise.all(
      [1, 2, 3].map((threads) => rehearseOnThreads(job(order), { threads, seed: 4 })),
    );
    for (const other of others) {
      expect({ ...other, seconds: 0, threads: 0 }).toEqual({ ...one, seconds: 0, threads: 0 });
    }
    expect((one?.broken ?? 0) > 0).toBe(order === "in-place");
  }
});

test("a subject that cannot be made fails the rehearsal, not the process", async () => {
  await expect(rehearseOnThreads({ module: dist("nothing.js"), data: 1 }, { threads: 2 })).rejects.toThrow(
    "nothing.js",
  );
});
