// Payloads of the public reference scripts' judgement: test/vectors/android/payload/generated; AOSP's own samples where they are.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { equalBytes } from "../../core/bytes.ts";
import { isOtaError } from "../../core/errors.ts";
import { memoryReader } from "../../core/streams.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { readKeys, type VerifierKey } from "../verifier/index.ts";
import { applyOperation } from "./apply-operation.ts";
import { placeOutput } from "./extents.ts";
import type { PartitionUpdate } from "./manifest.ts";
import { openPayload, type Payload } from "./open.ts";
import { operationName } from "./operation-types.ts";
import { verifyPayload, verifyPayloadMetadata } from "./verify.ts";

const ROOT = join(import.meta.dirname, "../../../test/vectors/android/payload/generated");
const AOSP = new URL("../../../../shared/vectors/android/payload/aosp-sample/", import.meta.url);
const bytesOf = (path: string): Uint8Array => new Uint8Array(readFileSync(path));

interface Case {
  readonly minor_version: number;
  readonly partitions: readonly {
    readonly name: string;
    readonly old: string;
    readonly new: string;
    readonly operations: readonly {
      readonly type: string;
      readonly dst: readonly (readonly [number, number])[];
      readonly src: readonly (readonly [number, number])[] | null;
    }[];
  }[];
  readonly expected: string;
}

/** The new partition that the operations make. */
async function applyAll(payload: Payload, partition: PartitionUpdate, old?: Uint8Array): Promise<Uint8Array> {
  const out = new Uint8Array(partition.newInfo?.size ?? 0);
  for (const [i, op] of partition.operations.entries()) {
    const data = payload.dataOf(op);
    const output = applyOperation(op, {
      blockSize: payload.manifest.blockSize,
      ...(data === undefined ? {} : { data }),
      ...(old === undefined ? {} : { source: memoryReader(old) }),
      codecs,
      digests,
      where: `${partition.name ?? ""} operation ${i}`,
    });
    for await (const { offset, bytes } of placeOutput(output, op.dstExtents, payload.manifest.blockSize)) {
      out.set(bytes.subarray(0, out.length - offset), offset);
    }
  }
  return out;
}

const triples = (extents: readonly { startBlock?: number; numBlocks?: number }[]): [number, number][] =>
  extents.map((e) => [e.startBlock ?? 0, e.numBlocks ?? 0]);

describe("payload.bin", () => {
  const keys = async (): Promise<VerifierKey[]> =>
    readKeys(bytesOf(join(ROOT, "key.pub.pem")), { name: "key.pub.pem", codecs });
  const cases = readdirSync(ROOT).filter((name) => existsSync(join(ROOT, name, "case.json")));
  expect(cases.length).toBe(11);

  for (const name of cases) {
    const spec = JSON.parse(readFileSync(join(ROOT, name, "case.json"), "utf8")) as Case;
    const file = bytesOf(join(ROOT, name, "payload.bin"));
    const properties = readFileSync(join(ROOT, name, "payload_properties.txt"), "utf8");

    if (name.startsWith("neg-")) {
      it(`refuses ${name}`, async () => {
        const verdict = await openPayload(memoryReader(file))
          .then(async (payload) => verifyPayload(payload, await keys(), { digests }))
          .catch((e: unknown) => e);
        if (isOtaError(verdict)) expect(verdict.exitCode).toBe(3);
        else expect(verdict).toMatchObject(/manifest|metadata/.test(name) ? { metadata: "bad" } : { payload: "bad" });
      });
      continue;
    }

    it(`reads, verifies and applies ${name}`, async () => {
      const payload = await openPayload(memoryReader(file));
      expect(payload.manifest.minorVersion ?? 0).toBe(spec.minor_version);
      expect(
        payload.manifest.partitions.map((p) => ({
          name: p.name,
          operations: p.operations.map((op) => ({
            type: operationName(op.type),
            dst: triples(op.dstExtents),
            src: op.srcExtents.length === 0 ? null : triples(op.srcExtents),
          })),
        })),
      ).toEqual(
        spec.partitions.map((p) => ({
          name: p.name,
          operations: p.operations.map(({ type, dst, src }) => ({ type, dst, src: src ?? null })),
        })),
      );
      const verdict = await verifyPayload(payload, await keys(), { digests });
      const state = name.endsWith("unsigned") ? "unsigned" : "good";
      expect(verdict).toMatchObject({ metadata: state, payload: state });
      const base64 = (hash: Uint8Array): string => Buffer.from(hash).toString("base64");
      expect(properties).toBe(
        `FILE_HASH=${base64(verdict.fileHash)}\nFILE_SIZE=${file.length}\n` +
          `METADATA_HASH=${base64(verdict.metadataHash)}\nMETADATA_SIZE=${payload.metadataSize}\n`,
      );
      for (const [i, partition] of payload.manifest.partitions.entries()) {
        const { old, new: fresh } = spec.partitions[i] as Case["partitions"][number];
        const base = payload.kind === "delta" ? bytesOf(join(ROOT, old)) : undefined;
        expect(equalBytes(await applyAll(payload, partition, base), bytesOf(join(ROOT, fresh)))).toBe(true);
      }
    });
  }

  it("accepts a signature only with its own key", async () => {
    const other = bytesOf(join(ROOT, "../../signing/generated/k4_f4_sha256.x509.pem"));
    const payload = await openPayload(memoryReader(bytesOf(join(ROOT, "full-signed/payload.bin"))));
    const verdict = await verifyPayload(payload, await readKeys(other, { name: "other", codecs }), { digests });
    expect(verdict).toMatchObject({ metadata: "bad", payload: "bad" });
    expect(await verifyPayloadMetadata(payload, await keys(), { digests })).toMatchObject({ state: "good" });
    expect(await verifyPayload(payload, [], { digests })).toMatchObject({ payload: "not-checked" });
  });

  it("refuses a delta on another old partition before any byte", async () => {
    const payload = await openPayload(memoryReader(bytesOf(join(ROOT, "delta-signed/payload.bin"))));
    const [, system] = payload.manifest.partitions as [PartitionUpdate, PartitionUpdate];
    await expect(applyAll(payload, system, bytesOf(join(ROOT, "system-new.img")))).rejects.toMatchObject({
      code: "ANDROID_PAYLOAD_BASE",
      exitCode: 5,
    });
    await expect(applyAll(payload, system)).rejects.toMatchObject({ code: "ANDROID_PAYLOAD_BASE" });
  });

  it("gives a value or a typed error for every truncation and every changed byte of the metadata", async () => {
    for (const name of ["delta-signed", "full-signed"]) {
      const file = bytesOf(join(ROOT, name, "payload.bin"));
      for (let size = 0; size < file.length; size += size < 1000 ? 1 : 97) {
        const error = await openPayload(memoryReader(file.subarray(0, size))).catch((e: unknown) => e);
        expect(isOtaError(error), `${name} cut at ${size}`).toBe(true);
      }
      let refused = 0;
      for (let at = 0; at < 700; at++) {
        for (const value of [0, 0xff, (file[at] as number) ^ 1, (file[at] as number) ^ 0x80]) {
          const changed = file.slice();
          changed[at] = value;
          if (changed[at] === file[at]) continue;
          const outcome = await openPayload(memoryReader(changed)).then(
            () => undefined,
            (e: unknown) => e,
          );
          if (outcome !== undefined) refused++;
          expect(outcome === undefined || isOtaError(outcome), `${name} byte ${at} = ${value}`).toBe(true);
        }
      }
      expect(refused).toBeGreaterThan(300);
    }
  });
});

describe("AOSP's sample payloads", () => {
  const folder = fileURLToPath(AOSP);
  if (!existsSync(folder)) {
    it("are not there (../shared/vectors): skipped", () => {
      process.stderr.write("payload: ../shared/vectors/android/payload/aosp-sample is absent, its rows did not run\n");
    });
    return;
  }
  it("become the images beside them", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "otaforge-payload-"));
    try {
      execFileSync("tar", ["xjf", join(folder, "sample_images.tar.bz2"), "-C", scratch]);
      const image = (name: string): Uint8Array => bytesOf(join(scratch, name));
      const olds = [image("disk_ext2_4k_empty.img"), image("disk_sqfs_empty.img")];
      const news = [image("disk_ext2_4k.img"), image("disk_sqfs_default.img")];
      for (const name of ["full_payload.bin", "delta_payload.bin"]) {
        const payload = await openPayload(memoryReader(bytesOf(join(folder, name))));
        await verifyPayload(payload, [], { digests });
        for (const [i, partition] of payload.manifest.partitions.entries()) {
          const made = await applyAll(payload, partition, payload.kind === "delta" ? olds[i] : undefined);
          expect(equalBytes(made, news[i] as Uint8Array)).toBe(true);
        }
      }
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
});
