import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take many minutes: begun last, one of them would run while everything else is done. */
const LONGEST = ["test/lab/android-files.test.ts", "test/lab/android-blocks.test.ts", "test/lab/ubi-cuts.test.ts"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/e2e/**/*.test.ts", "test/security/**/*.test.ts"],
          // A limit ends what hangs, no more: a loaded machine takes ten times as long as a quiet one.
          testTimeout: 600_000,
          // Every processor: vitest leaves one of two idle, and the main process has little to do.
          maxWorkers: "100%",
        },
      },
      { test: { name: "interop", include: ["test/interop/**/*.test.ts"], testTimeout: 900_000, maxWorkers: "100%" } },
      {
        test: {
          name: "lab",
          include: ["test/lab/**/*.test.ts"],
          globalSetup: ["test/lab/setup.ts"],
          // Machines have limits of their own; a long run (OTAFORGE_LAB_TIMES) takes hours.
          testTimeout: 86_400_000,
          hookTimeout: 1_800_000,
          // Two machines at a time: each emulates one core.
          maxWorkers: 2,
        },
      },
      { test: { name: "long", include: ["test/long/**/*.test.ts"], testTimeout: 3_600_000, maxWorkers: "100%" } },
    ],
  },
});
