import { expect, it } from "vitest";
import { runExpression } from "../../src/android/edify/index.ts";
import { explainScript, parseEdify } from "../../src/android/index.ts";
import { OtaError } from "../../src/core/errors.ts";
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
} from "../support/android-attacks.ts";
import { makePackage } from "../support/android-device.ts";
import { ANDROID_VECTORS } from "../support/android-install.ts";
import { randomNumbers } from "../support/k230-mutations.ts";
import { verifyPackage } from "../../src/android/verifier/index.ts";
import { nodeCodecs, nodeDigests } from "../../src/device/index.ts";
import { readdirSync, readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";

/** OTAFORGE_LONG=1 runs a million of each, or what OTAFORGE_BOX seconds hold; otherwise as many as a box of 20 s each holds. */
const FULL = process.env["OTAFORGE_LONG"] === "1";
const BOX_MS = FULL ? 1000 * Number(process.env["OTAFORGE_BOX"] ?? Number.POSITIVE_INFINITY) : 20_000;
const COUNT = FULL ? 1_000_000 : Number.POSITIVE_INFINITY;
const SEED = Number(process.env["OTAFORGE_SEED"] ?? 1);
const MEMORY = 512 * 2 ** 20;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x50, 0x4b];

/** Runs `one` until the box or the count is full; gives how often. */
async function boxed(one: (below: (n: number) => number) => Promise<void>): Promise<number> {
  const end = performance.now() + BOX_MS;
  let done = 0;
  for (; done < COUNT && (done % 50 !== 0 || performance.now() < end); done++) {
    const next = randomNumbers(SEED + done * 7919);
    for (let i = 0; i < 4; i++) next(2);
    await one(next);
    // Handles are freed in turns of the event loop, and all of this is one: 0.6 MiB stayed for every 1,000 packages.
    if (done % 50 === 0) await setImmediate();
  }
  return done;
}

/** A few changed, moved, doubled or missing bytes. */
function mutate(bytes: Uint8Array, below: (n: number) => number): Uint8Array {
  const out = bytes.slice();
  for (let n = 1 + below(4); n > 0; n--) {
    const at = below(out.length);
    const kind = below(8);
    if (kind === 0) return out.slice(0, at);
    if (kind === 1) out.copyWithin(at, below(out.length), below(out.length));
    else if (kind < 5) out[at] = INTERESTING[below(INTERESTING.length)] as number;
    else out[at] = below(256);
  }
  return out;
}

it("no damaged package is half installed: a typed refusal before the first write, or what its signature or checksums vouch for", async () => {
  const script =
    `mount("ext4", "EMMC", "${SYSTEM}", "/system");\n` +
    `package_extract_dir("system", "/system");\npackage_extract_file("boot.img", "/dev/block/by-name/boot");\n`;
  const plain = await makePackage(script, {
    "system/bin/new": "new",
    "boot.img": new Uint8Array(3000).map((_, i) => i % 97),
    "META-INF/com/android/metadata": "post-build=new\npre-device=tiny\n",
  });
  const signed = await signPackage(plain, "k4_f4_sha256");
  const unsigned = (await plain.read(0, plain.size)).slice();
  const keys = keysOf("k4_f4_sha256");
  const total = { refused: 0, installed: 0, stopped: 0 };
  const count = await boxed(async (below) => {
    const trusted = below(2) === 0;
    const bytes = mutate(trusted ? signed : unsigned, below);
    const device = smallDevice();
    try {
      await install(device, asReader(bytes), { keys: trusted ? keys : [] });
      total.installed++;
      const node = await device.nodes.open("/dev/block/by-name/boot", "read");
      const boot = await node.read(0, 3000);
      expect(boot.every((byte, i) => byte === i % 97)).toBe(true);
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      // What was let in had every byte vouched for; a script that stops afterwards is not a damaged one.
      if (e.code === "ANDROID_UPDATE_FAILED") total.stopped++;
      else {
        total.refused++;
        expect(device.targetWrites).toBe(0);
      }
    }
  });
  const { rss } = process.memoryUsage();
  expect(rss).toBeLessThan(MEMORY);
  process.stdout.write(
    `${Math.round(rss / 2 ** 20)} MiB, seed ${SEED}: ${count} damaged packages: ${JSON.stringify(total)}\n`,
  );
  expect(total.refused).toBeGreaterThan(0);
  expect(total.stopped).toBe(0);
});

it("any script gives a value, an abort or a parse error, and an explanation", async () => {
  const folder = new URL("ota44/", ANDROID_VECTORS);
  const scripts = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith("updater-script"))
    .slice(0, 12)
    .map((name) => new Uint8Array(readFileSync(new URL(name, folder))));
  const outcomes: Record<string, number> = {};
  const count = await boxed(async (below) => {
    const whole = scripts[below(scripts.length)] as Uint8Array;
    // Whole lines, so that most of them still parse where the change is inside a string.
    const from = whole.indexOf(10, below(whole.length)) + 1;
    const end = whole.indexOf(10, Math.min(whole.length - 1, from + below(1000)));
    const bytes = mutate(whole.subarray(from, end < 0 ? whole.length : end), below);
    const era = below(2) === 0 ? "4.4" : "7.1";
    const { status } = await runExpression(bytes, { era });
    outcomes[status] = (outcomes[status] ?? 0) + 1;
    explainScript(parseEdify(bytes, { era }));
  });
  const { rss } = process.memoryUsage();
  expect(rss).toBeLessThan(MEMORY);
  process.stdout.write(
    `${Math.round(rss / 2 ** 20)} MiB, seed ${SEED}: ${count} scripts: ${JSON.stringify(outcomes)}\n`,
  );
  expect(count).toBeGreaterThan(100);
});

it("A2: a signature covers all bytes beyond 2 GiB (in full: 5 GiB), the last one too", async () => {
  const size = FULL ? 5 * 2 ** 30 : 2 ** 31 + 1;
  const keys = keysOf("k1_e3_sha1");
  const tail = await signatureTail(await signerOf("k1_e3_sha1"), zeros(size));
  const verdict = (reader: Parameters<typeof verifyPackage>[0]) =>
    verifyPackage(reader, keys, { digests: nodeDigests, codecs: nodeCodecs, rules: "7.1" });
  expect(await verdict(joined(zeros(size), tail))).toMatchObject({ accepted: true });
  expect(await verdict(joined(zeros(size, { [size - 1]: 1 }), tail))).toMatchObject({ accepted: false });
});
