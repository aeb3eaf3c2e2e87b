import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { evaluateEdify, edifyBuiltins, parseEdify, runExpression } from "./index.ts";
import { parserStates } from "./grammar.ts";

interface Expected {
  readonly status: "ok" | "abort" | "parse_error";
  readonly result?: string;
  readonly message?: string;
  readonly messages?: string[];
  readonly stdout?: string;
  readonly errors?: number;
}
interface Case {
  readonly expr: string;
  readonly kitkat: Expected;
  readonly nougat: Expected | "same";
}
const { groups } = JSON.parse(
  readFileSync(new URL("../../../test/vectors/android/edify/expressions/cases.json", import.meta.url), "utf8"),
) as { groups: Record<string, Case[]> };

describe("edify expressions recorded from the reference interpreters", () => {
  for (const [group, cases] of Object.entries(groups)) {
    for (const { expr, kitkat, nougat } of cases) {
      for (const era of ["4.4", "7.1"] as const) {
        const want = era === "4.4" || nougat === "same" ? kitkat : nougat;
        it(`${group} ${era}: ${JSON.stringify(expr)}`, async () => {
          if (want.status === "parse_error") {
            const got = parseEdify(expr, { era, knows: (n) => edifyBuiltins({ era, stdout() {} }).has(n) });
            expect(got.errors.map((e) => `line ${e.line} col ${e.column}: ${e.message}`)).toEqual(want.messages);
            return;
          }
          const got = await runExpression(expr, { era });
          expect(got).toEqual(want);
        });
      }
    }
  }
});

const run = (text: string, vendorCompatible = false) => runExpression(text, { era: "4.4", vendorCompatible });

describe("edify beyond the recordings", () => {
  it("builds its parser quickly and once", () => {
    expect(parserStates()).toBe(parserStates());
  });

  it("lets an operator follow a semicolon, as the grammar does", async () => {
    expect(await run("a;+b")).toEqual({ status: "ok", result: "ab" });
    expect(await run("a;;b")).toEqual({ status: "ok", result: "b" });
  });

  it("counts an argument left out before a comma but not after it", async () => {
    expect(await run('concat(,"a")')).toEqual({ status: "ok", result: "a" });
    expect((await run("concat(a,)")).status).toBe("parse_error");
  });

  it("resynchronises at the next semicolon and tells of no second error within three tokens", () => {
    const columns = (text: string) => parseEdify(text, { era: "4.4", knows: () => false }).errors.map((e) => e.column);
    expect(columns("a b; c d; unknown()")).toEqual([4, 20]);
    expect(columns("a b; c + d e; unknown()")).toEqual([4, 13, 24]);
  });

  it("refuses a string without a closing quote, and ends the script there only when compatible", async () => {
    expect((await run('a; "b')).status).toBe("parse_error");
    expect(await run('a; "b', true)).toEqual({ status: "ok", result: "a" });
  });

  it("refuses carriage returns outside comments and strings", async () => {
    expect(await run("a;\r\nb")).toMatchObject({ status: "parse_error", line: 1, column: 3 });
    expect(await run("# x\r\nb")).toEqual({ status: "ok", result: "b" });
  });

  it("replaces the message of an abort whose message aborts", async () => {
    expect(await run('abort(abort("x"))')).toEqual({ status: "abort", message: "called abort()" });
  });

  it("limits strings only in 4.4", async () => {
    const long = `"${"x".repeat(8192)}"`;
    expect((await runExpression(long, { era: "4.4" })).status).toBe("parse_error");
    expect((await runExpression(long, { era: "7.1" })).status).toBe("ok");
    expect((await runExpression(`"${"x".repeat(8191)}"`, { era: "4.4" })).status).toBe("ok");
  });

  it("evaluates chains and nesting of any length without running out of stack", async () => {
    expect(await run("a" + "+a".repeat(200_000))).toMatchObject({ status: "ok" });
    expect(await run("!".repeat(9_000) + "a")).toEqual({ status: "ok", result: "a".slice(1) + "t" });
    expect(await run("concat(".repeat(3_000) + "a" + ")".repeat(3_000))).toEqual({ status: "ok", result: "a" });
    expect(await run("(".repeat(50_000))).toMatchObject({ status: "parse_error", message: "memory exhausted" });
  });

  it("gives a value, an abort or a parse error for any bytes", async () => {
    const piece = fc.constantFrom(
      ...'a b " \\ ( ) , ; + ! == != && || if then else endif # \n \t concat( abort( assert( ifelse( less_than_int( 1 stdout( \\x41 \r = \0'.split(
        " ",
      ),
      " ",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 40 }), fc.boolean(), async (parts, compatible) => {
        const outcome = await run(parts.join(""), compatible);
        expect(["ok", "abort", "parse_error"]).toContain(outcome.status);
      }),
      { numRuns: 3000 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        expect(["ok", "abort", "parse_error"]).toContain((await runExpression(bytes, { era: "7.1" })).status);
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps blobs out of places that need strings", async () => {
    const script = parseEdify("blob(); blob() + a", { era: "4.4" });
    const functions = new Map([
      [
        "blob",
        async () => ({ kind: "blob" as const, size: -1, bytes: async () => new Uint8Array(), async *stream() {} }),
      ],
    ]);
    await expect(evaluateEdify(script, functions, "4.4")).rejects.toThrow("expecting string, got value type 2");
  });
});
