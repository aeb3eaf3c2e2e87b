import { describe, expect, test } from "vitest";
import { captureIo } from "./io.ts";
import { paintProgress, parseProgressStyle } from "./progress.ts";

describe("progress", () => {
  test("a pipe gets one line a step and one each ten percent, never control characters", () => {
    const io = captureIo();
    const sink = paintProgress(io, "auto");
    for (let i = 0; i <= 1000; i++) {
      sink.progress({
        phase: "write",
        item: "/dev/mtd5",
        index: 1,
        count: 2,
        doneBytes: i * 1000,
        totalBytes: 1_000_000,
      });
    }
    sink.done();
    const lines = io.stderr().trimEnd().split("\n");
    expect(lines).toHaveLength(11);
    expect(lines[0]).toBe("write 1/2 /dev/mtd5 0 % of 976.6 KiB");
    expect(lines.at(-1)).toBe("write 1/2 /dev/mtd5 100 % of 976.6 KiB");
    // eslint-disable-next-line no-control-regex
    expect(io.stderr()).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
  });

  test("JSON lines carry every event and note", () => {
    const io = captureIo();
    const sink = paintProgress(io, "json");
    sink.progress({ phase: "verify", doneBytes: 1, totalBytes: 2 });
    sink.note("warning", "dotfiles are skipped");
    expect(
      io
        .stderr()
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { type: "progress", phase: "verify", doneBytes: 1, totalBytes: 2 },
      { type: "note", level: "warning", text: "dotfiles are skipped" },
    ]);
  });

  test("none prints warnings only; an unknown style is refused", () => {
    const io = captureIo();
    const sink = paintProgress(io, "none");
    sink.progress({ phase: "verify", doneBytes: 1, totalBytes: 2 });
    sink.note("warning", "x");
    expect(io.stderr()).toBe("warning: x\n");
    expect(() => parseProgressStyle("loud")).toThrow("auto, plain, json or none");
  });
});
