/** Rows A2 and A13 for payloads: no byte of a signed payload or of the package around it can be changed, and no way leads back. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { keysOf, signPackage } from "../../../test/support/android-attacks.ts";
import { makeZip } from "../../../test/support/android-device.ts";
import { memoryReader } from "../../core/streams.ts";
import type { RandomReader } from "../../core/ports.ts";
import { isOtaError } from "../../core/errors.ts";
import { createSimulatedDevice, nodeCodecs } from "../../device/index.ts";
import { raiseFloor } from "../install/index.ts";
import { readKeys } from "../verifier/index.ts";
import type { VerifierKey } from "../verifier/index.ts";
import { admitPayload } from "./index.ts";

const VECTORS = new URL("../../../test/vectors/android/payload/generated/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const payloadKeys = (): Promise<VerifierKey[]> => readKeys(file("key.pub.pem"), { name: "key", codecs: nodeCodecs });
const PACKAGE_KEY = "k4_f4_sha256";

const packageOf = (metadata: string): Promise<RandomReader> =>
  makeZip({ "payload.bin": file("delta-signed/payload.bin"), "META-INF/com/android/metadata": metadata }, [
    "payload.bin",
  ]);

/** Code of the refusal; undefined when it is let in. */
async function refusal(
  bytes: Uint8Array,
  bare: boolean,
  keys: readonly VerifierKey[],
  device = createSimulatedDevice({}),
): Promise<string | undefined> {
  try {
    await admitPayload(device, memoryReader(bytes), bare, { keys, profile: "safe" });
    return undefined;
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return e.code;
  }
}

async function survivors(good: Uint8Array, offsets: Iterable<number>, judge: (bad: Uint8Array) => Promise<unknown>) {
  const found: number[] = [];
  for (const at of offsets) {
    const bad = good.slice();
    bad[at] = (bad[at] as number) ^ (1 << (at % 8));
    if ((await judge(bad)) === undefined) found.push(at);
  }
  return found;
}

function* every(step: number, from: number, to: number): Generator<number> {
  for (let at = from; at < to; at += step) yield at;
}

describe("a signed payload", () => {
  it.each(["full-signed", "delta-signed"])("%s: no byte of it can be changed", async (name) => {
    const good = file(`${name}/payload.bin`);
    const keys = await payloadKeys();
    expect(await refusal(good, true, keys)).toBeUndefined();
    // Manifest and signatures at every byte, the data between them now and then.
    const head = 24 + 1200;
    const offsets = [
      ...every(1, 0, head),
      ...every(97, head, good.length - 300),
      ...every(1, good.length - 300, good.length),
    ];
    expect(await survivors(good, offsets, (bad) => refusal(bad, true, keys))).toEqual([]);
  });

  it("no byte of the signed package around it can be changed, although the payload alone still verifies", async () => {
    const good = await signPackage(await packageOf("post-timestamp=5\npre-device=tiny\n"), PACKAGE_KEY);
    const keys = [...(await payloadKeys()), ...keysOf(PACKAGE_KEY)];
    expect(await refusal(good, false, keys)).toBeUndefined();
    const tail = file("delta-signed/payload.bin").length;
    const offsets = [...every(1, 0, 60), ...every(97, 60, tail), ...every(3, tail, good.length)];
    expect(await survivors(good, offsets, (bad) => refusal(bad, false, keys))).toEqual([]);
    // A device that trusts only one of the two signers cannot tell.
    expect(await refusal(good, false, await payloadKeys())).toBe("ANDROID_REJECTED");
  });

  it("in an unsigned package goes back by no word of that package", async () => {
    const keys = await payloadKeys();
    const device = createSimulatedDevice({});
    const read = async (metadata: string): Promise<Uint8Array> => {
      const zip = await packageOf(metadata);
      return (await zip.read(0, zip.size)).slice();
    };
    const admit = async (metadata: string) =>
      admitPayload(device, memoryReader(await read(metadata)), false, { keys, profile: "safe" });
    const { metadata } = await admit("post-timestamp=9999999999\nota-downgrade=yes\n");
    expect(metadata.downgrade).toBe(false);
    const stamp = metadata.postTimestamp;
    // The floor rises by what is signed, and what an attacker writes beside an older payload does not lower it.
    await raiseFloor(device, { ...metadata, postTimestamp: (stamp ?? 0) + 1 });
    const forged = await read("post-timestamp=9999999999\nota-downgrade=yes\n");
    expect(await refusal(forged, false, keys, device)).toBe("TRUST_DOWNGRADE");
    expect(await refusal(file("delta-signed/payload.bin"), true, keys, device)).toBe("TRUST_DOWNGRADE");
  });
});
