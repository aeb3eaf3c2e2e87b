// A/B packages of the command, from builds of an invented device, applied by our own operations.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyOperation,
  openPayload,
  operationName,
  placeOutput,
  readKeys,
  verifyPackage,
  verifyPayload,
  type PartitionUpdate,
  type Payload,
} from "../../android/index.ts";
import { equalBytes } from "../../core/bytes.ts";
import { memoryReader } from "../../core/streams.ts";
import { createZipWriter, memorySink, openZip, type ZipArchive } from "../../core/zip/index.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { abBuild, type AbBuildFiles } from "../../../test/support/ab-build.ts";
import { captureIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otaFromTargetFilesMain } from "./ota-from-target-files.ts";
import { signCommand } from "./sign.ts";

const KEYS = join(import.meta.dirname, "../../../test/vectors/android/signing/generated");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-ab-"));
afterAll(() => rmSync(scratch, { recursive: true }));

let counter = 0;
async function run(
  args: readonly string[],
  key = "k4_f4_sha256",
): Promise<{ code: number; err: string; file: string }> {
  const folder = join(scratch, `run${counter++}`);
  const file = join(folder, "out.zip");
  mkdirSync(folder);
  const io = captureIo({ cwd: scratch });
  const signing = args.includes("--no_signing") ? [] : ["-k", join(KEYS, key)];
  const code = await runGuarded("ota", otaFromTargetFilesMain, [...signing, ...args, file], io);
  expect(readdirSync(folder)).toEqual(code === 0 ? ["out.zip"] : []);
  return { code, err: io.stderr(), file };
}

async function sign(file: string, key: string): Promise<{ code: number; out: string; err: string }> {
  const io = captureIo({ cwd: scratch });
  const main = async (argv: readonly string[]): Promise<number> => {
    let exit = 70;
    const command = await signCommand.build(io, (c) => (exit = c));
    await command.parseAsync([...argv], { from: "user" });
    return exit;
  };
  const args = [file, "--key", join(KEYS, `${key}.pk8`)];
  const code = await runGuarded("otaforge sign", main, args, io);
  return { code, out: io.stdout(), err: io.stderr() };
}

const open = (file: string): Promise<ZipArchive> =>
  openZip(memoryReader(new Uint8Array(readFileSync(file))), { codecs });

async function applyAll(payload: Payload, partition: PartitionUpdate, old?: Uint8Array): Promise<Uint8Array> {
  const { blockSize } = payload.manifest;
  const out = new Uint8Array(partition.newInfo?.size ?? 0);
  for (const op of partition.operations) {
    const data = payload.dataOf(op);
    const output = applyOperation(op, {
      blockSize,
      codecs,
      digests,
      ...(data === undefined ? {} : { data }),
      ...(old === undefined ? {} : { source: memoryReader(old) }),
    });
    for await (const { offset, bytes } of placeOutput(output, op.dstExtents, blockSize)) out.set(bytes, offset);
  }
  return out;
}

describe("A/B packages", () => {
  const builds: Record<string, AbBuildFiles> = {};
  beforeAll(async () => {
    for (const which of ["old", "new"] as const) {
      for (const minor of [2, 3, 6]) {
        const build = await abBuild(which, minor);
        builds[`${which}${minor}`] = build;
        writeFileSync(join(scratch, `${which}${minor}.zip`), build.zip);
      }
    }
  });

  async function check(
    file: string,
    options: { minor: number; delta: boolean; key?: string },
  ): Promise<{ zip: ZipArchive; payload: Payload; metadata: string }> {
    const { minor, delta, key } = options;
    const zip = await open(file);
    const payload = await openPayload(zip.raw(zip.need("payload.bin")));
    const keys =
      key === undefined
        ? []
        : await readKeys(new Uint8Array(readFileSync(join(KEYS, `${key}.x509.pem`))), { name: key, codecs });
    const state = key === undefined ? "unsigned" : "good";
    const verdict = await verifyPayload(payload, keys, { digests });
    expect(verdict).toMatchObject({ metadata: state, payload: state });
    expect(payload.kind).toBe(delta ? "delta" : "full");
    expect(payload.manifest.minorVersion).toBe(delta ? minor : 0);
    for (const partition of payload.manifest.partitions) {
      const name = partition.name as string;
      const image = (which: string): Uint8Array => builds[`${which}${minor}`]?.images[name] as Uint8Array;
      const made = await applyAll(payload, partition, delta ? image("old") : undefined);
      expect(equalBytes(made, image("new")), name).toBe(true);
      const hash = createHash("sha256").update(image("new")).digest();
      expect(Buffer.from(partition.newInfo?.sha256 ?? []).equals(hash)).toBe(true);
    }
    const text = async (name: string): Promise<string> => Buffer.from(await zip.read(zip.need(name))).toString();
    const metadata = await text("META-INF/com/android/metadata");
    // Every place a property file names holds what it says.
    for (const key of ["ota-property-files", "ota-streaming-property-files"]) {
      const value = new RegExp(`^${key}=(.*)$`, "m").exec(metadata)?.[1] ?? "";
      expect(value).toContain("payload.bin:");
      expect(value.includes("payload_metadata.bin:")).toBe(key === "ota-property-files");
      for (const token of value.trim().split(",")) {
        const [name = "", offset, size] = token.split(":");
        const entry = zip.entries.find((e) => e.name === name || e.name.endsWith(`/${name}`));
        if (name === "payload_metadata.bin") {
          expect(Number(offset)).toBe(zip.need("payload.bin").dataOffset);
          expect(Number(size)).toBe(payload.dataOffset);
        } else
          expect([name, entry?.method, entry?.dataOffset, entry?.size]).toEqual([
            name,
            0,
            Number(offset),
            Number(size),
          ]);
      }
    }
    const properties = await text("payload_properties.txt");
    expect(properties).toContain(`FILE_HASH=${Buffer.from(verdict.fileHash).toString("base64")}\nFILE_SIZE=`);
    expect(properties).toContain(`METADATA_SIZE=${payload.metadataSize}\n`);
    return { zip, payload, metadata };
  }

  it("makes a full payload of REPLACE operations only, signed", async () => {
    const { code, err, file } = await run(["new6.zip"]);
    expect(code, err).toBe(0);
    const { payload, metadata, zip } = await check(file, { minor: 6, delta: false, key: "k4_f4_sha256" });
    const types = payload.manifest.partitions.flatMap((p) => p.operations.map((op) => operationName(op.type)));
    expect(types.every((t) => t.startsWith("REPLACE"))).toBe(true);
    expect(metadata).toMatch(
      /^ota-property-files=.*\nota-required-cache=0\nota-streaming-property-files=.*\nota-type=AB\npost-build=/,
    );
    expect(payload.manifest.partitions[1]).toMatchObject({
      runPostinstall: true,
      postinstallPath: "bin/post",
      filesystemType: "ext4",
    });
    expect(payload.manifest.dynamicPartitions).toMatchObject({
      groups: [{ name: "main", size: 4194304, partitionNames: ["system"] }],
      snapshotEnabled: true,
    });
    expect(payload.manifest.maxTimestamp).toBe(1_700_000_000);
    expect(zip.get("care_map.pb")?.method).toBe(0);
    const pem = new Uint8Array(readFileSync(join(KEYS, "k4_f4_sha256.x509.pem")));
    const bytes = memoryReader(new Uint8Array(readFileSync(file)));
    expect(await verifyPackage(bytes, await readKeys(pem, { name: "k4", codecs }), { digests, codecs })).toMatchObject({
      accepted: true,
    });
  });

  for (const minor of [2, 3, 6]) {
    it(`makes a delta of minor version ${minor} from the operations it allows`, async () => {
      const { code, err, file } = await run(["-i", `old${minor}.zip`, `new${minor}.zip`]);
      expect(code, err).toBe(0);
      const { payload, metadata } = await check(file, { minor, delta: true, key: "k4_f4_sha256" });
      const types = new Set(
        payload.manifest.partitions.flatMap((p) => p.operations.map((op) => operationName(op.type))),
      );
      expect(types.has("SOURCE_COPY")).toBe(true);
      expect(types.has("ZERO")).toBe(minor >= 4);
      expect(types.has("BROTLI_BSDIFF")).toBe(minor >= 4);
      expect(types.has("SOURCE_BSDIFF") || types.has("BROTLI_BSDIFF")).toBe(true);
      expect(metadata).toContain(
        "pre-build=acme/twin/twin:14/old:user/release-keys\npre-build-incremental=old\npre-device=twin\n",
      );
      // Far less than what changed of both images.
      expect(readFileSync(file).length).toBeLessThan(40_000);
    });
  }

  it("signs with EC keys and with keys whose certificate says SHA-1", async () => {
    for (const key of ["k5_ec", "k1_e3_sha1"]) {
      const { code, err, file } = await run(["-i", "old6.zip", "new6.zip"], key);
      expect(code, err).toBe(0);
      await check(file, { minor: 6, delta: true, key });
    }
  });

  it("lays an unsigned package out as a signed one, so that signing moves nothing", async () => {
    const unsigned = await run(["--no_signing", "-w", "--keep_slot", "new6.zip"]);
    expect(unsigned.code, unsigned.err).toBe(0);
    const { zip } = await check(unsigned.file, { minor: 6, delta: false });
    const properties = Buffer.from(await zip.read(zip.need("payload_properties.txt"))).toString();
    expect(properties).toMatch(/POWERWASH=1\nSWITCH_SLOT_ON_REBOOT=0\n$/);
    // The payload gets its signature as well: the result is the package that would have been made with the key.
    const result = await sign(unsigned.file, "k4_f4_sha256");
    expect(result.code, result.err).toBe(0);
    expect(result.out).toContain("payload.bin is signed by this key as well");
    await check(unsigned.file, { minor: 6, delta: false, key: "k4_f4_sha256" });
    const direct = await run(["-w", "--keep_slot", "new6.zip"]);
    expect(readFileSync(unsigned.file).equals(readFileSync(direct.file))).toBe(true);
  });

  it("is signed again with another key, payload and property files included", async () => {
    const { file } = await run(["-i", "old6.zip", "new6.zip"]);
    const same = await sign(file, "k4_f4_sha256");
    expect(same.out).toContain("payload.bin is signed by this key already");
    for (const key of ["k5_ec", "k1_e3_sha1"]) {
      expect(await sign(file, key)).toMatchObject({ code: 0 });
      await check(file, { minor: 6, delta: true, key });
    }
    // RSA signatures are the same each time.
    const direct = await run(["-i", "old6.zip", "new6.zip"], "k1_e3_sha1");
    expect(readFileSync(file).equals(readFileSync(direct.file))).toBe(true);
  });

  it("keeps what others put into a package when it is signed again", async () => {
    const made = await open((await run(["-w", "new6.zip"])).file);
    const sink = memorySink();
    const writer = createZipWriter(sink, { codecs });
    // Another order, another entry, and the message has a field of later versions.
    const later = Uint8Array.of(0xa2, 0x06, 3, 1, 2, 3);
    const names = made.entries.map((e) => e.name).filter((n) => !/MANIFEST|CERT|otacert/.test(n));
    for (const name of ["apex_info.pb", ...names.reverse()]) {
      const own = name === "apex_info.pb" ? new Uint8Array(777) : await made.read(made.need(name));
      const content = name.endsWith(".pb") && name !== "apex_info.pb" && name.includes("/") ? [...own, ...later] : own;
      await writer.add({ name, method: 0 }, new Uint8Array(content));
    }
    await writer.finish();
    const file = join(scratch, "foreign.zip");
    writeFileSync(file, sink.bytes());
    expect(await sign(file, "k3_e3_sha256")).toMatchObject({ code: 0 });
    const { zip } = await check(file, { minor: 6, delta: false, key: "k3_e3_sha256" });
    expect(zip.need("apex_info.pb").size).toBe(777);
    expect(Buffer.from(await zip.read(zip.need("payload_properties.txt"))).toString()).toMatch(/\nPOWERWASH=1\n$/);
    const message = Buffer.from(await zip.read(zip.need("META-INF/com/android/metadata.pb")));
    expect(message.includes(Buffer.from(later))).toBe(true);
    const text = Buffer.from(await zip.read(zip.need("META-INF/com/android/metadata"))).toString();
    const places = /^ota-property-files=(.*)$/m.exec(text)?.[1] ?? "-";
    expect(message.includes(places)).toBe(true);
  });

  it("is verified by the front door with both signatures", async () => {
    const { file } = await run(["new6.zip"]);
    const { verifyCommand } = await import("./verify.ts");
    const verify = async (key: string): Promise<number> => {
      let exit = 70;
      const io = captureIo({ cwd: scratch });
      const command = await verifyCommand.build(io, (c) => (exit = c));
      await command.parseAsync([file, "--key", join(KEYS, `${key}.x509.pem`)], { from: "user" });
      return exit;
    };
    expect(await verify("k4_f4_sha256")).toBe(0);
    expect(await verify("k3_e3_sha256")).toBe(4);
  });

  it("gives the same bytes with one job and with many", async () => {
    const [a, b] = [
      await run(["-t", "1", "-i", "old6.zip", "new6.zip"]),
      await run(["-t", "5", "-i", "old6.zip", "new6.zip"]),
    ];
    expect(equalBytes(new Uint8Array(readFileSync(a.file)), new Uint8Array(readFileSync(b.file)))).toBe(true);
  });

  it("refuses what makes no A/B package, and leaves nothing behind", async () => {
    for (const [args, code, words] of [
      [["-2", "new6.zip"], 2, "no script"],
      [["-i", "new6.zip", "old6.zip"], 5, "--downgrade"],
      [["--payload", join(KEYS, "unsigned.zip")], 3, "META/ab_partitions.txt"],
    ] as const) {
      const result = await run(args);
      expect(result.code, result.err).toBe(code);
      expect(result.err).toContain(words);
    }
  });

  it("goes back to an older build when asked, and wipes", async () => {
    const { code, err, file } = await run(["--downgrade", "-i", "new6.zip", "old6.zip"]);
    expect(code, err).toBe(0);
    const zip = await open(file);
    const metadata = Buffer.from(await zip.read(zip.need("META-INF/com/android/metadata"))).toString();
    expect(metadata).toContain("ota-downgrade=yes\n");
    expect(metadata).toContain("ota-wipe=yes\n");
    const payload = await openPayload(zip.raw(zip.need("payload.bin")));
    expect(payload.manifest.maxTimestamp).toBe(1_700_000_000);
  });

  it("goes back without wiping where only the build times are in the wrong order", async () => {
    const log = join(scratch, "differences.txt");
    const { code, err, file } = await run(["--override_timestamp", "--log_diff", log, "-i", "new6.zip", "old6.zip"]);
    expect(code, err).toBe(0);
    const zip = await open(file);
    const metadata = Buffer.from(await zip.read(zip.need("META-INF/com/android/metadata"))).toString();
    expect(metadata).toContain("ota-downgrade=yes\n");
    expect(metadata).not.toContain("ota-wipe");
    expect(Buffer.from(await zip.read(zip.need("payload_properties.txt"))).toString()).not.toContain("POWERWASH");
    expect(readFileSync(log, "utf8")).toContain("  - ro.build.version.incremental=new\n");
    for (const [args, exit, words] of [
      [["--override_timestamp", "-i", "old6.zip", "new6.zip"], 5, "not older"],
      [["--override_timestamp", "--downgrade", "-i", "new6.zip", "old6.zip"], 2, "one of the two"],
      [["--log_diff", log, "new6.zip"], 2, "Add -i"],
    ] as const) {
      const refused = await run(args);
      expect(refused.code, refused.err).toBe(exit);
      expect(refused.err).toContain(words);
    }
  });

  it("has its payload signed by a program of the user's own", async () => {
    // What `openssl pkeyutl -sign -pkeyopt digest:sha256` does, so that the test needs no openssl.
    const program = join(scratch, "hsm.mjs");
    writeFileSync(
      program,
      `import { createPrivateKey, privateEncrypt } from "node:crypto";
       import { readFileSync, writeFileSync } from "node:fs";
       const value = (name) => process.argv[process.argv.indexOf(name) + 1];
       const key = createPrivateKey({ key: readFileSync(value("-inkey")), format: "der", type: "pkcs8" });
       const info = Buffer.from("3031300d060960864801650304020105000420", "hex");
       writeFileSync(value("-out"), privateEncrypt(key, Buffer.concat([info, readFileSync(value("-in"))])));`,
    );
    const signer = (key: string): string[] => [
      "--payload_signer",
      process.execPath,
      "--payload_signer_args",
      `"${program}" -inkey '${join(KEYS, key)}.pk8'`,
    ];
    const own = await run([...signer("k4_f4_sha256"), "new6.zip"]);
    expect(own.code, own.err).toBe(0);
    expect(own.err).not.toContain("not by the key");
    await check(own.file, { minor: 6, delta: false, key: "k4_f4_sha256" });
    const other = await run([...signer("k3_e3_sha256"), "new6.zip"]);
    expect(other.code, other.err).toBe(0);
    expect(other.err).toContain("not by the key of the package's certificate");
    await check(other.file, { minor: 6, delta: false, key: "k3_e3_sha256" });
    const broken = await run([...signer("no-such-key"), "new6.zip"]);
    expect(broken.code).toBe(4);
    expect(broken.err).toContain("the payload signer failed");
    expect((await run(["--payload_signer_args", "x", "new6.zip"])).code).toBe(2);
    for (const none of ["./no-such-signer", "no-such-signer-anywhere"]) {
      const missing = await run(["--payload_signer", none, "new6.zip"]);
      expect(missing.code).toBe(4);
      expect(missing.err).toContain("there is no such payload signer");
    }
  });
});
