/** Row A2 for Android at its finest: twelve changes of every byte of a small signed package, for every kind of key. */
import { expect, it } from "vitest";
import { verifyPackage } from "../../src/android/verifier/index.ts";
import { readU16 } from "../../src/core/bytes.ts";
import { nodeCodecs, nodeDigests } from "../../src/device/index.ts";
import { asReader, install, keysOf, signPackage, signWithoutJar, smallDevice } from "../support/android-attacks.ts";
import { makePackage } from "../support/android-device.ts";

/**
 * OTAFORGE_LONG=1: all of them, twenty minutes. Otherwise one a byte, as many as a box of 3 s a package holds.
 */
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = FULL ? Number.POSITIVE_INFINITY : 3_000;
/** Coprime to all sizes here: every offset once, in an order that spreads early. */
const STRIDE = 7919;
/** Every bit, two and four of them (`0A` turns one name of an RSA algorithm into another), all. */
const FLIPS = [1, 2, 4, 8, 16, 32, 64, 128, 0x03, 0x0a, 0x55, 0xff];

const KEYS = ["k1_e3_sha1", "k2_f4_sha1", "k3_e3_sha256", "k4_f4_sha256", "k5_ec"];
const SIGNERS = { "with a JAR part": signPackage, "with the certificate alone": signWithoutJar };

it.each(KEYS.flatMap((key) => (Object.keys(SIGNERS) as (keyof typeof SIGNERS)[]).map((how) => [key, how] as const)))(
  "twelve changes of every byte of a signed Android package, %s, %s",
  async (key, how) => {
    const plain = await makePackage('package_extract_file("f", "/system/f");\n', {
      f: "new",
      "META-INF/com/android/metadata": "post-build=new\n",
    });
    const good = await SIGNERS[how](plain, key);
    const keys = keysOf(key);
    const ports = { digests: nodeDigests, codecs: nodeCodecs };
    const comment = good.length - readU16(good, good.length - 2) - 2;
    const end = performance.now() + BOX_MS;
    const survivors: string[] = [];
    let tried = 0;
    for (let i = 0, at = 0; i < good.length && (performance.now() < end || i < 50); i++) {
      at = (at + STRIDE) % good.length;
      for (const flip of FULL ? FLIPS : [FLIPS[i % FLIPS.length] as number]) {
        const bent = good.slice();
        bent[at] = (bent[at] as number) ^ flip;
        tried++;
        const { accepted } = await verifyPackage(asReader(bent), keys, ports);
        if (accepted) survivors.push(`${at}^${flip}`);
        if (!accepted && flip !== FLIPS[0]) continue;
        // What verify refuses, install must not have begun.
        const device = smallDevice();
        await install(device, asReader(bent), { keys }).then(
          () => survivors.push(`${at}^${flip} installed`),
          () => undefined,
        );
        if (device.writes > 0) survivors.push(`${at}^${flip} written`);
      }
    }
    process.stdout.write(
      `${key} ${how}: ${tried} changes of ${good.length} bytes, ${good.length - comment} in the comment\n`,
    );
    expect(survivors).toEqual([]);
    expect((await verifyPackage(asReader(good), keys, ports)).accepted).toBe(true);
  },
);
