import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { processIo } from "./io.ts";

/** A stream that takes one text and then fails. */
function failing(code: string): Writable & { readonly taken: string[] } {
  const taken: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(text: string, _encoding, done) {
      if (taken.push(text) === 1) done();
      else done(Object.assign(new Error(code), { code }));
    },
  });
  return Object.assign(stream, { taken });
}

describe("standard streams", () => {
  it.each([
    ["EPIPE", []],
    ["ENOSPC", ["ENOSPC"]],
  ])("that fail with %s do not end what the command is doing", async (code, told) => {
    const [stdout, stderr] = [failing(code), failing(code)];
    const lost: (string | undefined)[] = [];
    const io = processIo(new AbortController().signal, (e) => lost.push(e.code), { stdout, stderr });
    for (const text of ["a", "b", "c"]) {
      io.out(text);
      io.err(text);
      await new Promise((done) => setImmediate(done));
    }
    expect([stdout.taken, stderr.taken]).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    expect(lost).toEqual(told);
  });
});
