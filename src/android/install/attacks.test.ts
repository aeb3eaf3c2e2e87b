/** Attacks on Android packages, by the rows of the project's attack table: each must be refused with nothing written. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { makePackage, makeZip } from "../../../test/support/android-device.ts";
import {
  asReader,
  install,
  joined,
  keysOf,
  signatureTail,
  signerOf,
  signPackage,
  smallDevice,
  SYSTEM,
  zeros,
} from "../../../test/support/android-attacks.ts";
import { concatBytes, readU16, writeU16, writeU32 } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import { nodeCodecs, nodeDigests, openDevice } from "../../device/index.ts";
import type { SimulatedDevice } from "../../device/index.ts";
import { encodeSignatureBlock, encodeSignatureComment } from "../signing/index.ts";
import { readFooter, verifyPackage } from "../verifier/index.ts";
import { installUpdateZip } from "./index.ts";
import type { AndroidInstallOptions } from "./index.ts";

const MOUNT = `mount("ext4", "EMMC", "${SYSTEM}", "/system");`;
const SCRIPT = `${MOUNT}\npackage_extract_dir("system", "/system");\nunmount("/system");\n`;
const KEY = "k4_f4_sha256";
const metadata = (more = ""): Record<string, string> => ({
  "META-INF/com/android/metadata": `post-build=new\npre-device=tiny\n${more}`,
});

const PORTS = { digests: nodeDigests, codecs: nodeCodecs };
const contentOf = async (reader: RandomReader): Promise<Uint8Array> => reader.read(0, reader.size);

const plain = (): Promise<RandomReader> => makePackage(SCRIPT, { "system/bin/new": "new", ...metadata() });

/** Refused with this code, and not a byte of the device was changed, state included. */
async function refused(
  device: SimulatedDevice,
  reader: RandomReader,
  code: ErrorCode | RegExp,
  more: Partial<AndroidInstallOptions> = {},
): Promise<void> {
  const found = await install(device, reader, more).then(
    () => "installed",
    (e: unknown) => (e instanceof OtaError ? e.code : String(e)),
  );
  expect(found).toMatch(typeof code === "string" ? new RegExp(`^${code}$`) : code);
  expect(device.targetWrites).toBe(0);
}

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

describe("A2: sizes beyond 32 bits", () => {
  it.each([2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, 5 * 2 ** 30, 2 ** 53 - 4096])("covers all of %d bytes", async (size) => {
    const tail = await signatureTail(await signerOf(KEY), zeros(0));
    const footer = await readFooter(joined(zeros(size - tail.length), tail), "safe");
    expect(footer).toMatchObject({ signedSize: size - (tail.length - 20), endOffset: size - tail.length });
  });
});

describe("A4: certificates that come with the signature", () => {
  it("trusts no key because a certificate of it stands in the package", async () => {
    const theirs = await signPackage(await plain(), "k3_e3_sha256");
    await refused(smallDevice(), asReader(theirs), "ANDROID_REJECTED", { keys: keysOf(KEY) });
  });

  it("takes no other certificate beside a trusted signature, and no trusted one beside another signature", async () => {
    const signed = await signPackage(await plain(), KEY);
    const content = signed.subarray(0, signed.length - readU16(signed, signed.length - 2) - 22);
    const record = signed.subarray(content.length, content.length + 20);
    const [trusted, attacker] = [await signerOf(KEY), await signerOf("k3_e3_sha256")];
    const ending = async (signer: typeof trusted): Promise<RandomReader> =>
      asReader(concatBytes(content, await signatureTail(signer, asReader(content), record)));
    expect(await install(smallDevice(), await ending(trusted), { keys: keysOf(KEY) })).toBeDefined();
    const other = await ending({ ...trusted, certificate: attacker.certificate });
    await refused(smallDevice(), other, "ANDROID_REJECTED", { keys: keysOf(KEY) });
    const verdict = (rules: "7.1" | "safe") => verifyPackage(other, keysOf(KEY), { ...PORTS, rules });
    expect(await verdict("7.1")).toMatchObject({ accepted: true });
    expect((await verdict("safe")).reason).toMatch(/^the certificate beside the signature is not the one of META-INF/);
    const bad = await ending({ ...attacker, certificate: trusted.certificate });
    await refused(smallDevice(), bad, "ANDROID_REJECTED", { keys: keysOf(KEY) });
  });

  it("takes no package in which nothing vouches for the certificate", async () => {
    const bare = asReader(await contentOf(await plain()));
    const record = await bare.read(bare.size - 22, 20);
    const content = asReader(await bare.read(0, bare.size - 22));
    const signed = joined(content, await signatureTail(await signerOf(KEY), content, record));
    await refused(smallDevice(), signed, "ANDROID_REJECTED", { keys: keysOf(KEY) });
    expect(await install(smallDevice(), signed, { keys: keysOf(KEY), profile: "vendor" })).toBeDefined();
  });
});

describe("A5: a check that is not there", () => {
  it("refuses unsigned packages and stripped signatures as soon as there are keys", async () => {
    await refused(smallDevice(), await plain(), "ANDROID_UNSIGNED", { keys: keysOf(KEY) });
    const signed = await signPackage(await plain(), KEY);
    const total = readU16(signed, signed.length - 2);
    const stripped = signed.slice(0, signed.length - total);
    writeU16(stripped, stripped.length - 2, 0);
    await refused(smallDevice(), asReader(stripped), "ANDROID_UNSIGNED", { keys: keysOf(KEY) });
  });

  it("refuses an empty list of signers", async () => {
    const signer = await signerOf(KEY);
    const block = encodeSignatureBlock(signer, new Uint8Array(256));
    // SignerInfos is the last SET of the structure: its content is taken out.
    const set = block.lastIndexOf(0x31, block.length - 280);
    const empty = block.slice();
    empty[set + 1] = 0;
    const comment = encodeSignatureComment(empty);
    const record = new Uint8Array(22);
    record.set([0x50, 0x4b, 5, 6]);
    record.set(comment.subarray(-2), 20);
    const reader = joined(zeros(100), new Uint8Array([...record, ...comment]));
    expect(await verifyPackage(reader, keysOf(KEY), PORTS)).toMatchObject({ accepted: false });
  });

  it("lets no weaker hash stand in for the one a key signs", async () => {
    const weak = await signPackage(await plain(), "k2_f4_sha1");
    const [key] = keysOf("k2_f4_sha1");
    const strong = { ...(key as NonNullable<typeof key>), hashes: ["sha256"] as const };
    await refused(smallDevice(), asReader(weak), "ANDROID_REJECTED", { keys: [strong] });
  });

  it("says unsigned in the result where nothing is checked", async () => {
    expect(await install(smallDevice(), await plain())).toMatchObject({ signature: "unsigned" });
  });
});

describe("A6: two ends of one archive", () => {
  it("refuses trailing bytes, a second end record in the comment and footers out of range", async () => {
    const signed = await signPackage(await plain(), KEY);
    const keys = keysOf(KEY);
    const at = signed.length;
    const change = (edit: (bytes: Uint8Array) => void): RandomReader => {
      const bytes = signed.slice();
      edit(bytes);
      return asReader(bytes);
    };
    const all: RandomReader[] = [
      asReader(new Uint8Array([...signed, 0])),
      change((b) => b.set([0x50, 0x4b, 5, 6], at - readU16(b, at - 2) + 3)),
      ...[0, 6, 0xffff, readU16(signed, at - 2) + 1].map((start) => change((b) => writeU16(b, at - 6, start))),
      change((b) => writeU16(b, at - 2, readU16(b, at - 2) - 1)),
      change((b) => writeU16(b, at - readU16(b, at - 2) - 2, 7)),
    ];
    for (const reader of all) await refused(smallDevice(), reader, /^ANDROID_(REJECTED|UNSIGNED)$/, { keys });
    for (const reader of [all[0], all[1]] as RandomReader[]) await refused(smallDevice(), reader, /^ZIP_/);
  });
});

/** Changes an archive's bytes where a text stands for the `nth` time. */
async function altered(source: RandomReader, text: string, nth: number, edit: (b: Uint8Array, at: number) => void) {
  const bytes = (await source.read(0, source.size)).slice();
  let at = -1;
  for (let i = 0; i <= nth; i++) at = Buffer.from(bytes).indexOf(text, at + 1, "latin1");
  edit(bytes, at);
  return asReader(bytes);
}

describe("A7: archives with two readings", () => {
  it("refuses duplicate names, headers that differ and entries that overlap", async () => {
    const two = await makePackage(SCRIPT, { "system/bin/aa": "one", "system/bin/ab": "two" });
    const duplicate = await altered(
      await altered(two, "system/bin/ab", 0, (b, at) => (b[at + 12] = 0x61)),
      "system/bin/ab",
      0,
      (b, at) => (b[at + 12] = 0x61),
    );
    await refused(smallDevice(), duplicate, "ZIP_DUPLICATE");
    const differs = await altered(two, "system/bin/ab", 0, (b, at) => (b[at + 12] = 0x63));
    await refused(smallDevice(), differs, "ZIP_MISMATCH");
    const overlap = await altered(two, "PK\x01\x02", 1, (b, at) => writeU32(b, at + 42, 0));
    await refused(smallDevice(), overlap, /^ZIP_(OVERLAP|MISMATCH|DAMAGED)$/);
  });
});

describe("A8: names that leave their folder", () => {
  it.each([
    "../../etc/pass",
    "/etc/passwords",
    "a/../../../etc",
    "system\\..\\..\\x",
    "C:/system/bin/x",
    "system/\0/bin/a",
  ])("refuses %j", async (name) => {
    const honest = "system/bin/abc".padEnd(name.length, "x").slice(0, name.length);
    let reader = await makePackage(SCRIPT, { [honest]: "x" });
    const edit = (b: Uint8Array, at: number): void => void b.set(Buffer.from(name, "latin1"), at);
    for (const nth of [0, 0]) reader = await altered(reader, honest, nth, edit);
    await refused(smallDevice(), reader, "ZIP_NAME");
  });

  it("follows no link that is planted at the destination", async () => {
    const folder = mkdtempSync(join(tmpdir(), "otaforge-attack-"));
    folders.push(folder);
    for (const name of ["system", "cache", "outside"]) mkdirSync(join(folder, name));
    symlinkSync(join(folder, "outside"), join(folder, "system/bin"));
    writeFileSync(join(folder, "outside/new"), "kept");
    const mounts = { "/system": { dir: "system", node: SYSTEM }, "/cache": { dir: "cache" } };
    writeFileSync(join(folder, "DEVICE.json"), JSON.stringify({ family: "android", mounts }));
    const device = await openDevice(join(folder, "DEVICE.json"));
    await expect(installUpdateZip(device, await plain(), { profile: "safe", keys: [] })).rejects.toMatchObject({
      code: "ANDROID_UPDATE_FAILED",
    });
    await device.close();
    expect(readFileSync(join(folder, "outside/new"), "utf8")).toBe("kept");
  });
});

describe("A13: going back", () => {
  const signed = async (stamp: number, more = ""): Promise<RandomReader> => {
    const meta = metadata(`post-timestamp=${stamp}\n${more}`);
    return asReader(await signPackage(await makePackage(SCRIPT, { "system/bin/new": `${stamp}`, ...meta }), KEY));
  };
  const keys = keysOf(KEY);

  it("refuses a replayed older package, also after a restart, and takes the same one again", async () => {
    const device = smallDevice();
    await install(device, await signed(1_700_000_000), { keys });
    const later = device.restart();
    await expect(install(later, await signed(1_600_000_000), { keys })).rejects.toMatchObject({
      code: "TRUST_DOWNGRADE",
    });
    expect(later.targetWrites).toBe(0);
    expect(await install(later, await signed(1_700_000_000), { keys })).toMatchObject({ outcome: "installed" });
    const back = await install(later, await signed(1_650_000_000, "ota-downgrade=yes\n"), { keys });
    expect(back).toMatchObject({ outcome: "installed" });
  });

  it("compares versions as numbers, and takes no package that does not say its own", async () => {
    const version = async (text: string): Promise<RandomReader> =>
      makePackage(SCRIPT, { "system/bin/new": "new", ...metadata(`post-build-incremental=${text}\n`) });
    const minimumVersion = "1.10";
    await refused(smallDevice(), await version("1.9"), "TRUST_DOWNGRADE", { minimumVersion });
    for (const trick of ["v1.11", "1:2", "１.11", " "]) {
      await refused(smallDevice(), await version(trick), /^TRUST_(VERSION|DOWNGRADE)$/, { minimumVersion });
    }
    await refused(smallDevice(), await plain(), "TRUST_DOWNGRADE", { minimumVersion });
    expect(await install(smallDevice(), await version("1.11"), { minimumVersion })).toBeDefined();
  });
});

describe("A14: another device, another base", () => {
  it("refuses by the device's name before anything else", async () => {
    await refused(smallDevice({ properties: { "ro.product.device": "other" } }), await plain(), "TRUST_HARDWARE");
  });

  it("refuses another base before the first change, also where the script asks too late", async () => {
    const sha = "0123456789012345678901234567890123456789";
    const script =
      `${MOUNT}\ndelete("/system/build.prop");\n` +
      `apply_patch("/system/bin/old", "-", ${sha}, 3, ${sha}, package_extract_file("patch/old.p"));\n`;
    const reader = await makePackage(script, { "patch/old.p": "BSDIFF40" });
    await refused(smallDevice(), reader, "ANDROID_PREFLIGHT");
  });
});

describe("A16: bombs", () => {
  it("stops at the declared size", async () => {
    const reader = await makeZip({ "system/bin/big": new Uint8Array(8 << 20) });
    const lies = await altered(reader, "PK\x01\x02", 0, (b, at) => writeU32(b, at + 24, 100));
    const both = await altered(lies, "PK\x03\x04", 0, (b, at) => writeU32(b, at + 22, 100));
    await refused(smallDevice(), both, /^(ZIP_|CODEC_)/);
  });
});

describe("A17: texts that a shell would read", () => {
  it("hands arguments to programs as values", async () => {
    const device = smallDevice();
    const nasty = ["-rf", "$(reboot)", "`id`", 'a"b', "x\ny", "; rm /"];
    const args = nasty.map((text) => `"${text.replace(/[\\"]/g, "\\$&")}"`).join(", ");
    await install(device, await makePackage(`run_program("/sbin/tool", ${args});\n`));
    const [script] = device.scriptsNoted;
    expect(Object.values(script?.variables ?? {})).toEqual(["/sbin/tool", ...nasty]);
    const text = new TextDecoder().decode(script?.text);
    for (const word of nasty) expect(text).not.toContain(word);
  });
});
