import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { gzipSync } from "node:zlib";
import { writeU32, writeU64 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { memoryReader } from "../../core/streams.ts";
import { createSimulatedDevice, nodeDigests } from "../../device/index.ts";
import { makeBsdiff40 } from "../../delta/index.ts";
import { noise, testPackage } from "../../../test/support/sigmastar-package.ts";
import { byteSum } from "../../core/checksums.ts";
import { md5Of } from "../integrity.ts";
import { FORMATS } from "../layout.ts";
import type { Generation } from "../layout.ts";
import { installSigmastar } from "./install.ts";

const BOARD = {
  nodes: { "/dev/mtd4": { kind: "block", size: 4096 }, "/dev/mtd5": { kind: "block", size: 2048 } },
  ubi: { "/dev/ubi0_1": { size: 1000 } },
  files: { "/etc/a": "old text of a file", "/etc/b": "gone", "/tmp": { kind: "folder" } },
} as const;
const start = createSimulatedDevice(BOARD);

const OLD = new TextEncoder().encode("old text of a file");
const PATCH = makeBsdiff40(OLD, new TextEncoder().encode("new text of a file"));

function packageOf(generation: Generation): Uint8Array {
  return testPackage({
    generation,
    begin: "b",
    end: "e",
    records: [
      { operation: "BLK_UPDATE", destination: "/dev/mtd4", payload: noise(70, 1), destinationSize: 4096 },
      { operation: "FILE_DIFF", destination: "/etc/a", payload: PATCH },
      { operation: "UBI_UPDATE", destination: "/dev/ubi0_1", payload: noise(50, 2) },
      { operation: "FILE_DELETE", destination: "/etc/b" },
    ],
  });
}

/** Installs; a refusal must be typed and come before any write and script. Gives whether it was refused. */
async function refused(bytes: Uint8Array): Promise<boolean> {
  const device = start.fork();
  try {
    await installSigmastar(
      device,
      { file: memoryReader(bytes), compression: "detect" },
      { scratch: { files: device.files, folder: "/tmp" } },
    );
    return false;
  } catch (e) {
    if (!(e instanceof OtaError)) throw e;
    expect([device.writes, device.scriptsNoted.length, e.code]).toEqual([0, 0, e.code]);
    return true;
  }
}

describe("damaged packages", () => {
  it.each(["v0.4", "v1.6"] as const)(
    "%s: any flipped byte is refused before the first write, or harmless",
    async (generation) => {
      const bytes = packageOf(generation);
      expect(await refused(bytes)).toBe(false);
      let accepted = 0;
      for (let i = 0; i < bytes.length; i++) {
        const mutant = bytes.slice();
        mutant[i] = (mutant[i] as number) ^ (1 << (i % 8));
        if (!(await refused(mutant))) accepted++;
      }
      // v1.6 covers every byte with MD5; the older generations do not protect their record heads.
      if (generation === "v1.6") expect(accepted).toBe(0);
      else expect(accepted).toBeLessThan(bytes.length * 0.75);
    },
  );

  it.each(["v0.2", "v0.4", "v1.6"] as const)("%s: truncation at every offset is refused", async (generation) => {
    const bytes = packageOf(generation);
    for (let i = 0; i < bytes.length; i++) expect(await refused(bytes.subarray(0, i))).toBe(true);
  });

  it("gzip: any flipped byte and every truncation is refused, or harmless", async () => {
    const bytes = new Uint8Array(gzipSync(packageOf("v1.6")));
    for (let i = 0; i < bytes.length; i++) {
      const mutant = bytes.slice();
      mutant[i] = (mutant[i] as number) ^ (1 << (i % 8));
      await refused(mutant);
      expect(await refused(bytes.subarray(0, i))).toBe(true);
    }
  });

  it("a bomb of zeros behind a small header ends at the declared size", async () => {
    const members = Array.from({ length: 40 }, () => gzipSync(new Uint8Array(4 << 20)));
    expect(await refused(Buffer.concat([gzipSync(packageOf("v1.6")), ...members]))).toBe(true);
  });
});

describe("hostile packages whose check values are right", () => {
  const extremes = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 2 ** 53 - 1, 2 ** 53, 2 ** 64 - 1];

  /** Writes a check value that fits whatever the record and header say. */
  function repair(generation: Generation, bytes: Uint8Array): Uint8Array {
    const { headerSize, recordSize, integrity } = FORMATS[generation];
    const out = bytes.slice();
    const record = headerSize + 2;
    const payload = out.subarray(record + recordSize, record + recordSize + 70);
    if (integrity === "md5") {
      out.set(md5Of(nodeDigests, out.subarray(record + 16, record + recordSize), payload), record);
      out.set(md5Of(nodeDigests, out.subarray(headerSize, record)), 16);
      out.set(md5Of(nodeDigests, out.subarray(16, headerSize)), 0);
    } else {
      writeU32(out, 0, byteSum(out.subarray(4, record)) % 0x100000000);
    }
    return out;
  }

  it.each(["v0.2", "v0.4", "v1.6"] as const)("%s: every length field at its extremes", async (generation) => {
    const { header, record, headerSize } = FORMATS[generation];
    const bytes = packageOf(generation);
    const fields = [
      ...Object.entries(header.fields).map(([name, f]) => ({ name, at: f.offset, size: f.size })),
      ...Object.entries(record.fields).map(([name, f]) => ({ name, at: headerSize + 2 + f.offset, size: f.size })),
    ].filter((f) => (f.size === 4 || f.size === 8) && !/check|md5/i.test(f.name));
    expect(fields.length).toBeGreaterThan(6);
    for (const field of fields) {
      for (const value of extremes) {
        const mutant = bytes.slice();
        if (field.size === 4) writeU32(mutant, field.at, value % 0x100000000);
        else {
          writeU32(mutant, field.at, value % 0x100000000);
          writeU32(mutant, field.at + 4, Math.floor(value / 0x100000000) % 0x100000000);
        }
        await refused(repair(generation, mutant));
      }
    }
  });

  it("differences whose patch is damaged inside a right record", async () => {
    for (let i = 0; i < PATCH.length; i++) {
      const patch = PATCH.slice();
      patch[i] = (patch[i] as number) ^ (1 << (i % 8));
      const pkg = testPackage({
        records: [
          { operation: "BLK_UPDATE", destination: "/dev/mtd4", payload: noise(70, 1) },
          { operation: "FILE_DIFF", destination: "/etc/a", payload: patch },
        ],
      });
      await refused(pkg);
    }
    const lying = PATCH.slice();
    writeU64(lying, 24, 2 ** 52);
    const pkg = testPackage({ records: [{ operation: "FILE_DIFF", destination: "/etc/a", payload: lying }] });
    expect(await refused(pkg)).toBe(true);
  });

  it("any destination text", async () => {
    const piece = fc.constantFrom(
      "/",
      "..",
      ".",
      "etc",
      "a",
      "b",
      "tmp",
      "\n",
      "$(reboot)",
      "`id`",
      "-rf",
      " ",
      "\u00e9",
      "x".repeat(300),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 8 }),
        fc.constantFrom("FILE_ADD", "FILE_DELETE", "FILE_UPDATE", "BLK_UPDATE"),
        async (parts, operation) => {
          const destination = parts.join("").slice(0, 500);
          const records = [{ operation, destination, payload: operation === "FILE_DELETE" ? "" : "x" } as const];
          const device = start.fork();
          await refused(testPackage({ records })).catch((e: unknown) => {
            throw new Error(JSON.stringify(destination), { cause: e });
          });
          expect(device.writes).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
