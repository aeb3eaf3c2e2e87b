/** Rows A5, A10, A12, A13, A14, A16, A20, A26, A29: what a device with keys accepts, by the commands that install. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { createSimulatedDevice, openJournal, type OpenedDevice } from "../../src/device/index.ts";
import type { Device } from "../../src/core/ports.ts";
import { rehearse } from "../../src/rehearse/index.ts";
import { raiseFloor, type Vouched } from "../../src/cli/vouch.ts";
import { selfSigned } from "../support/certificate.ts";
import { FORMS, otaforge, signedBench, type Bench, type Form } from "../support/signed-benches.ts";

const MANIFEST_FORMS = FORMS.filter((f) => !f.startsWith("android"));

async function refused(bench: Bench, code: number, ...more: string[]): Promise<string> {
  const before = bench.targets();
  const ran = await bench.install(...more);
  expect([ran.code, ran.err]).toEqual([code, expect.any(String)]);
  expect(bench.targets() === before, "a target was written").toBe(true);
  return ran.err;
}

const sign = async (bench: Bench, ...options: string[]): Promise<void> => {
  const ran = await otaforge(bench.folder, ["sign", bench.name, ...options]);
  if (ran.code !== 0) throw new Error(ran.err);
};

function describeDevice(bench: Bench, more: Record<string, unknown>): void {
  const file = join(bench.folder, "DEVICE.json");
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, "utf8")) as object), ...more }));
}

describe("A5 unsigned, stripped, wrongly signed", () => {
  test.each(MANIFEST_FORMS)("%s: refused with 4, and without keys every result says unsigned", async (form) => {
    const bench = await signedBench(form);
    await otaforge(bench.folder, ["keygen", "other"]);
    describeDevice(bench, { keys: ["other.pub.pem"] });
    expect(await refused(bench, 4)).toContain("key that is not configured");
    describeDevice(bench, { keys: ["release.pub.pem"] });
    const embedded = form.endsWith("embedded");
    if (!embedded) {
      const manifest = join(bench.folder, `${bench.name}.manifest`);
      const whole = readFileSync(manifest, "utf8");
      // An empty list of signers, as a stripper would leave it.
      writeFileSync(manifest, whole.replace(/"signatures":\[.*\]/, '"signatures":[]'));
      await refused(bench, 4);
      rmSync(manifest);
      expect(await refused(bench, 4)).toContain("no signature");
    }
    describeDevice(bench, { keys: [] });
    const { code, out } = await bench.install();
    expect(code).toBe(0);
    expect(out).toMatch(/"(signature|trust)": "unsigned/);
    expect(embedded || !out.includes("signed by")).toBe(true);
  });

  test("a signature that belongs to two keys cannot lose one of them", async () => {
    const bench = await signedBench("sigmastar");
    await otaforge(bench.folder, ["keygen", "second", "-a", "ecdsa-p256"]);
    await sign(bench, "--key", "release.pem", "second.pem");
    const manifest = join(bench.folder, `${bench.name}.manifest`);
    const json = JSON.parse(readFileSync(manifest, "utf8")) as { signatures: unknown[] };
    writeFileSync(manifest, `${JSON.stringify({ ...json, signatures: json.signatures.slice(0, 1) })}\n`);
    describeDevice(bench, { keys: ["release.pub.pem", "second.pub.pem"] });
    expect(await refused(bench, 4)).toContain("removed or added");
  });

  test("a key everybody has is refused by its name, as a trusted key and as a signer", async () => {
    const bench = await signedBench("sigmastar");
    // RFC 8032, test 1.
    const der = `302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a`;
    const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(der, "hex").toString("base64")}\n-----END PUBLIC KEY-----\n`;
    writeFileSync(join(bench.folder, "sample.pub.pem"), pem);
    const verified = await otaforge(bench.folder, ["verify", bench.name, "--key", "sample.pub.pem"]);
    expect([verified.code, verified.err]).toEqual([4, expect.stringContaining("RFC 8032")]);
    describeDevice(bench, { keys: ["sample.pub.pem"] });
    await refused(bench, 4);
  });
});

describe("A12 nothing outside the signed package is written", () => {
  test("a manifest vouches for one file: bytes behind it are refused", async () => {
    for (const form of ["sigmastar", "k230", "k230 embedded", "sigmastar.gz embedded"] satisfies Form[]) {
      const bench = await signedBench(form);
      const path = join(bench.folder, bench.name);
      writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from("more")]));
      // A small gzip file with bytes behind it is not even recognised.
      await refused(bench, form.includes(".gz") ? 3 : 4);
    }
  });
});

describe("A13 downgrade and version tricks", () => {
  test.each(["sigmastar", "k230 embedded"] satisfies Form[])(
    "%s: an older signed package is refused once a newer one was installed, also 1.9 after 1.10",
    async (form) => {
      const bench = await signedBench(form, "1.10");
      expect((await bench.install()).code).toBe(0);
      const more = form.endsWith("embedded") ? ["--embed"] : [];
      await sign(bench, "--key", "release.pem", "--package-version", "1.9", ...more);
      expect(await refused(bench, 5)).toContain("1.10 or newer");
      await sign(bench, "--key", "release.pem", "--package-version", "1.10-rc1", ...more);
      await refused(bench, 5);
      // The floor is in two copies; one of them damaged does not lower it.
      const state = join(bench.folder, ".otaforge");
      const copies = readdirSync(state, { recursive: true }).filter((n) => String(n).includes("version-floor"));
      expect(copies).toHaveLength(2);
      writeFileSync(join(state, String(copies[0])), "torn");
      await refused(bench, 5);
      writeFileSync(join(state, String(copies[1])), "torn");
      await refused(bench, 6);
    },
  );

  test("minimumVersion is a floor before anything was installed, and no spelling gets under it", async () => {
    const bench = await signedBench("sigmastar", "1.9");
    describeDevice(bench, { minimumVersion: "1.10" });
    await refused(bench, 5);
    for (const version of ["v2.0", "1:2.0", "٢.0", "2..0", "02.0", "2.0 ", "2.0+1", ""]) {
      const ran = await otaforge(bench.folder, [
        "sign",
        bench.name,
        "--key",
        "release.pem",
        "--package-version",
        version,
      ]);
      expect([version, ran.code]).toEqual([version, 2]);
    }
  });

  test("a K230 goes back to its other slot without a package, whatever the floor says", async () => {
    const bench = await signedBench("k230", "9.0");
    expect((await bench.install()).code).toBe(0);
    const back = await otaforge(bench.folder, ["health", "rollback", "--device", "DEVICE.json", "--force", "--json"]);
    expect([back.code, back.err]).toEqual([0, expect.any(String)]);
  });
});

describe("A14 mix and match", () => {
  test("another package's manifest, other hardware and another base version are refused", async () => {
    const a = await signedBench("sigmastar");
    const b = await signedBench("k230");
    writeFileSync(join(a.folder, `${a.name}.manifest`), readFileSync(join(b.folder, `${b.name}.manifest`)));
    writeFileSync(join(a.folder, "release.pub.pem"), readFileSync(join(b.folder, "release.pub.pem")));
    await refused(a, 4);
    const c = await signedBench("sigmastar");
    describeDevice(c, { hardware: "cam-2" });
    expect(await refused(c, 5)).toContain("cam-1");
    describeDevice(c, { hardware: "cam-1" });
    expect((await c.install()).code).toBe(0);
    await sign(c, "--key", "release.pem", "--package-version", "3.0", "--base-version", "2.5");
    expect(await refused(c, 5)).toContain("2.5");
    await sign(c, "--key", "release.pem", "--package-version", "3.0", "--base-version", "2.0.0");
    expect((await c.install()).code).toBe(0);
    // An interrupted run is finished by the same package over what it brought itself.
    expect((await c.install()).code).toBe(0);
  });
});

describe("A16 more bytes than were signed", () => {
  test("a compressed package that unpacks to more than its header says is refused", async () => {
    const bench = await signedBench("sigmastar");
    const bomb = Buffer.concat([
      gzipSync(readFileSync(join(bench.folder, bench.name))),
      gzipSync(Buffer.alloc(64 * 1024 * 1024)),
    ]);
    writeFileSync(join(bench.folder, "bomb.gz"), bomb);
    await otaforge(bench.folder, ["sign", "bomb.gz", "--key", "release.pem", "--package-version", "2.0"]);
    const before = bench.targets();
    const ran = await otaforge(bench.folder, ["install", "bomb.gz", "--device", "DEVICE.json"]);
    expect(ran.code).toBe(3);
    expect(bench.targets()).toBe(before);
  });
});

describe("A19 a pipe", () => {
  test("a pipe gives no block to the installer before the signature covers it", async () => {
    const bench = await signedBench("k230 embedded");
    const image = readFileSync(join(bench.folder, bench.name));
    const piped = (bytes: Uint8Array) =>
      otaforge(bench.folder, ["install", "-", "--device", "DEVICE.json"], new Uint8Array(bytes));
    const card = (): Buffer => readFileSync(join(bench.folder, "targets/card.img"));
    const evil = Buffer.from(image);
    evil.fill(0xee, 0x10000 + 100, 0x10000 + 164);
    expect((await piped(evil)).code).toBe(4);
    expect(card().includes(Buffer.alloc(64, 0xee))).toBe(false);
    // A head that is not signed, and none at all.
    const head = Buffer.from(image);
    head[600] = (head[600] as number) ^ 1;
    const before = bench.targets();
    for (const bad of [head, image.subarray(0, 200)]) expect([3, 4]).toContain((await piped(bad)).code);
    expect(bench.targets()).toBe(before);
    expect((await piped(image)).code).toBe(0);
  });
});

describe("A20 the version floor under power cuts", () => {
  test("is the old or the new one after a cut at every write, and never lower", async () => {
    const vouched = {
      claim: { version: "2.0" },
      signers: [{ algorithm: "ed25519", id: "0", spki: new Uint8Array(0), source: "k" }],
    } as unknown as Vouched;
    const floorOf = (device: Device): Promise<unknown> => openJournal(device.state, "version-floor").load();
    const ready = createSimulatedDevice({ nodes: {} });
    await openJournal(ready.state, "version-floor").save({ version: "1.5", installed: "1.5" });
    const report = await rehearse({
      makeDevice: () => ready.restart(),
      install: (device) => raiseFloor(device as unknown as OpenedDevice, vouched),
      async judge(device, { succeeded }) {
        const floor = (await floorOf(device)) as { version: string } | undefined;
        if (floor?.version === "2.0") return { state: "new" };
        if (!succeeded && floor?.version === "1.5") return { state: "old" };
        return { state: "broken", reason: `the floor is ${JSON.stringify(floor)}` };
      },
      async boots(device) {
        const floor = (await floorOf(device)) as { version: string } | undefined;
        return ["1.5", "2.0"].includes(floor?.version ?? "") ? undefined : "a floor of neither";
      },
    });
    expect(report.firstBroken).toBeUndefined();
    expect(report.cuts).toBeGreaterThan(20);
  });
});

describe("A26 no clock", () => {
  test("rotated and revoked keys: a device that was off for years walks the chain, and never goes back", async () => {
    const bench = await signedBench("sigmastar");
    for (const key of ["k1", "k2", "k3"]) await otaforge(bench.folder, ["keygen", key]);
    const replace = (trust: string, by: string): Promise<{ code: number; err: string }> =>
      otaforge(bench.folder, [
        "keys",
        "replace",
        "release.keys",
        "--trust",
        `${trust}.pub.pem`,
        "--key",
        `${by}.pem`,
        "--first",
        "release.pub.pem",
      ]);
    expect((await replace("k1", "release")).code).toBe(0);
    expect((await replace("k2", "k2")).code).toBe(4);
    expect((await replace("k2", "k1")).code).toBe(0);
    expect((await replace("k3", "k2")).code).toBe(0);
    await sign(bench, "--key", "k3.pem", "--package-version", "2.1");
    await refused(bench, 4);
    // A link of the chain is missing.
    const lines = readFileSync(join(bench.folder, "release.keys"), "utf8").split("\n");
    writeFileSync(join(bench.folder, "gap.keys"), `${lines[0]}\n${lines[2]}\n`);
    await refused(bench, 4, "--key-list", "gap.keys");
    // A refused package changes nothing the device trusts.
    expect((await bench.install("--key-list", "release.keys")).code).toBe(0);
    // From now on the first key is nobody, without a list as well.
    await sign(bench, "--key", "release.pem", "--package-version", "9.0");
    await refused(bench, 4);
    writeFileSync(join(bench.folder, "old.keys"), `${lines[0]}\n`);
    await refused(bench, 4, "--key-list", "old.keys");
  });

  test("an expired certificate still carries its key", async () => {
    const bench = await signedBench("sigmastar");
    const put = (name: string, text: string): void => writeFileSync(join(bench.folder, name), text);
    const own = await selfSigned("old", new Date("1999-01-01"), new Date("2000-01-01"));
    put("c.pem", own.key);
    put("c.x509.pem", own.certificate);
    describeDevice(bench, { keys: ["c.x509.pem"] });
    await sign(bench, "--key", "c.pem");
    expect((await bench.install()).code).toBe(0);
  });
});

describe("A29 secrets", () => {
  test("private keys are 0600, and no message, package, manifest, record or state holds a line of one", async () => {
    const bench = await signedBench("sigmastar");
    for (const algorithm of ["ed25519", "ecdsa-p256", "rsa"]) {
      const name = `key-${algorithm}`;
      const texts: string[] = [];
      const run = async (...argv: string[]): Promise<void> => {
        const { out, err } = await otaforge(bench.folder, argv);
        texts.push(out, err);
      };
      await run("keygen", name, "-a", algorithm);
      expect(statSync(join(bench.folder, `${name}.pem`)).mode & 0o777).toBe(0o600);
      const pem = readFileSync(join(bench.folder, `${name}.pem`), "utf8");
      writeFileSync(join(bench.folder, "cut.pem"), pem.slice(0, -40));
      describeDevice(bench, { keys: [`${name}.pub.pem`] });
      await run("sign", bench.name, "--key", `${name}.pem`, "--package-version", "2.0");
      await run("sign", bench.name, "--key", "cut.pem", "--package-version", "2.0");
      await run("verify", bench.name, "--key", `${name}.pem`);
      await run("install", bench.name, "--device", "DEVICE.json", "--json");
      describeDevice(bench, { keys: [`${name}.pem`] });
      await run("install", bench.name, "--device", "DEVICE.json", "--json");
      const secret = pem.split("\n").filter((l) => l.length > 20 && !l.startsWith("-"));
      expect(secret.length).toBeGreaterThan(0);
      const files = readdirSync(bench.folder, { recursive: true })
        .map(String)
        .filter((f) => !f.endsWith(".pem") && statSync(join(bench.folder, f)).isFile());
      const everything = [...texts, ...files.map((f) => readFileSync(join(bench.folder, f), "latin1"))].join("\n");
      for (const line of secret) expect(everything.includes(line)).toBe(false);
    }
  });
});

describe("A10 names from a package are never paths of ours", () => {
  test("hardware names and versions of a manifest do not reach the file system", async () => {
    const bench = await signedBench("sigmastar");
    mkdirSync(join(bench.folder, "planted"));
    await sign(bench, "--key", "release.pem", "--hardware", "../planted/x", "--package-version", "2.0");
    await refused(bench, 5);
    const version = await otaforge(bench.folder, [
      "sign",
      bench.name,
      "-k",
      "release.pem",
      "--package-version",
      "../../x",
    ]);
    expect(version.code).toBe(2);
    expect(existsSync(join(bench.folder, "planted/x"))).toBe(false);
  });
});
