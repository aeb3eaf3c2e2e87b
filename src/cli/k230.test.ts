import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import {
  sha256Hex,
  vectorBytes,
  vectorDisk,
  vectorJson,
  vectorNames,
  vectorPath,
} from "../../test/support/k230-vectors.ts";
import { cardRunning, fullImage, makeDelta, NEW, OLD } from "../../test/support/k230-delta.ts";
import { nodeProcesses } from "../device/processes.ts";
import { k230BootMain } from "./commands/k230-boot.ts";
import { kdimgMain } from "./commands/kdimg.ts";
import { testOtaMain } from "./commands/test-ota.ts";
import { captureIo, type CapturedIo } from "./io.ts";
import { otaforgeMain } from "./otaforge.ts";
import { runGuarded, type CommandMain } from "./run.ts";

interface Ran {
  code: number;
  io: CapturedIo;
  json: () => Record<string, unknown>;
}

const folder = (): string => mkdtempSync(join(tmpdir(), "otaforge-k230-"));

async function run(main: CommandMain, cwd: string, argv: readonly string[], stdin?: Uint8Array): Promise<Ran> {
  const io = captureIo({ cwd, ...(stdin === undefined ? {} : { stdin }) });
  const code = await runGuarded("test", main, argv, io);
  return { code, io, json: () => JSON.parse(io.stdout()) as Record<string, unknown> };
}

const CASE = "powercut-a-to-b";
const IMAGE = vectorBytes(CASE, "image.kdimg.gz");

/** A folder with `card.img`, `image.kdimg` and DEVICE.json. */
function bench(description: Record<string, unknown> = {}): string {
  const at = folder();
  writeFileSync(join(at, "card.img"), vectorDisk(CASE));
  writeFileSync(join(at, "image.kdimg"), IMAGE);
  writeFileSync(
    join(at, "DEVICE.json"),
    JSON.stringify({ family: "k230", card: "card.img", medium: "sdcard", ...description }),
  );
  return at;
}

const card = (at: string): string => sha256Hex(readFileSync(join(at, "card.img")));

describe("kdimg", () => {
  it("info prints the promised JSON, damage on standard error", async () => {
    for (const name of vectorNames("parse-")) {
      const at = folder();
      writeFileSync(join(at, "i.kdimg"), vectorBytes(name, "image.kdimg.gz"));
      const expected = vectorJson<{ ok: boolean; header: object; partsSortedByOffset: { dataOk: boolean }[] }>(
        name,
        "expected.json",
      );
      const { code, io, json } = await run(kdimgMain, at, ["info", "i.kdimg", "--json"]);
      const whole = expected.ok && expected.partsSortedByOffset.every((p) => p.dataOk);
      expect([name, code]).toEqual([name, whole ? 0 : 3]);
      expect(io.stderr() === "").toBe(whole);
      if (expected.ok) {
        expect(json()["header"]).toEqual(expected.header);
        const parts = json()["parts"] as { offset: number; flag: string; dataOk: boolean }[];
        const sorted = parts.sort((a, b) => a.offset - b.offset);
        expect(sorted.map((p) => p.dataOk)).toEqual(expected.partsSortedByOffset.map((p) => p.dataOk));
        for (const part of parts) expect(part.flag).toMatch(/^0x[0-9a-f]+$/);
      }
    }
  });

  it("packs and leaves nothing behind after an error", async () => {
    const at = folder();
    cpSync(vectorPath("pack-ota", "genimage.cfg"), join(at, "g.cfg"));
    mkdirSync(join(at, "in"));
    for (const name of ["rtt", "rtapp"])
      cpSync(vectorPath("pack-ota", `in-${name}.bin`), join(at, "in", `${name}.bin`));
    const argv = ["pack", "g.cfg", "--inputpath", "in", "--outputpath", "out"];
    expect((await run(kdimgMain, at, argv)).code).toBe(0);
    expect(sha256Hex(readFileSync(join(at, "out/o.kdimg")))).toBe(
      vectorJson<{ sha256: string }>("pack-ota", "expected.json").sha256,
    );
    const failed = await run(kdimgMain, at, ["pack", "g.cfg", "--inputpath", "none", "--outputpath", "out2"]);
    expect(failed.code).toBe(2);
    expect(existsSync(join(at, "out2"))).toBe(false);
    expect(failed.io.stderr()).toContain("rtt.bin");
  });

  it("extracts only what fits its digest, and never through a planted link or a bad name", async () => {
    const at = folder();
    writeFileSync(join(at, "i.kdimg"), vectorBytes("parse-bad-sha", "image.kdimg.gz"));
    writeFileSync(join(at, "victim"), "untouched");
    mkdirSync(join(at, "out"));
    symlinkSync("../victim", join(at, "out/rtt"));
    const { code } = await run(kdimgMain, at, ["extract", "i.kdimg", "-C", "out"]);
    expect(code).toBe(3);
    expect(readdirSync(join(at, "out"))).toEqual(["rtt", "uboot"]);
    expect(readFileSync(join(at, "victim"), "utf8")).toBe("untouched");
    expect(readFileSync(join(at, "out/rtt")).length).toBe(8192);
  });
});

describe("a card", () => {
  it("has one writer at a time, and the second is told who holds it", async () => {
    const at = bench();
    const before = card(at);
    // The parent of the tests is a process that lives and is not this one.
    const pid = process.ppid;
    const started = await nodeProcesses.started(pid);
    mkdirSync(join(at, ".otaforge"));
    const owner = { command: "the first", pid, started, host: hostname(), boot: "", sinceMs: 0 };
    writeFileSync(join(at, ".otaforge/lock"), JSON.stringify(owner));
    for (const [main, argv] of [
      [testOtaMain, ["--device", "DEVICE.json", "image.kdimg"]],
      [otaforgeMain, ["install", "image.kdimg", "--device", "DEVICE.json"]],
      [otaforgeMain, ["health", "rollback", "--device", "DEVICE.json"]],
    ] as const) {
      const second = await run(main, at, argv);
      expect([second.code, second.io.stderr()]).toEqual([6, expect.stringContaining("the first")]);
      expect(card(at)).toBe(before);
    }
    expect((await run(testOtaMain, at, ["--disk", "card.img", "image.kdimg"])).code).toBe(0);
  });

  it("gets the full image named with a delta whose base does not run there", async () => {
    const at = bench();
    writeFileSync(join(at, "card.img"), cardRunning({ ...OLD, rtt: NEW.rtt }));
    writeFileSync(join(at, "delta.kdimg"), (await makeDelta(OLD, NEW)).image);
    writeFileSync(join(at, "full.kdimg"), fullImage(NEW));
    const before = card(at);
    const alone = await run(testOtaMain, at, ["--disk", "card.img", "delta.kdimg"]);
    expect([alone.code, alone.io.stderr()]).toEqual([5, expect.stringContaining("--full")]);
    expect(card(at)).toBe(before);
    const json = ["--json", "--progress", "none", "--full", "full.kdimg"];
    const full = await run(testOtaMain, at, ["--disk", "card.img", ...json, "delta.kdimg"]);
    expect(full.json()).toMatchObject({ outcome: "installed", slot: "b" });
  });
});

describe("kdimg firmware", () => {
  it("checks encrypted firmware as far as keys are given, and makes plain one", async () => {
    const at = folder();
    const name = "fw-aes-rsa-e3";
    const known = vectorJson<Record<string, string>>(name, "expected.json");
    cpSync(vectorPath(name, "firmware.bin"), join(at, "f.bin"));
    writeFileSync(join(at, "aes.hex"), `${known["aesKeyHex"] ?? ""}\n`);
    const keys = ["--aes-key", "aes.hex", "--rsa-key-hash", known["publicKeyHash"] ?? ""];
    const whole = await run(kdimgMain, at, ["firmware", "show", "f.bin", "--first-stage", "--json", ...keys]);
    expect(whole.code).toBe(0);
    expect(whole.json()).toMatchObject({ cryptoType: 2, ok: true, complete: true, version: 0 });
    const partly = await run(kdimgMain, at, ["firmware", "show", "f.bin", "--first-stage", "--json"]);
    expect(partly.json()).toMatchObject({ ok: true, complete: false });
    const other = ["--rsa-key-hash", "00".repeat(32)];
    expect((await run(kdimgMain, at, ["firmware", "show", "f.bin", "--first-stage", ...other])).code).toBe(4);
    writeFileSync(join(at, "short"), "12");
    expect((await run(kdimgMain, at, ["firmware", "show", "f.bin", "--aes-key", "short"])).code).toBe(2);

    writeFileSync(join(at, "image"), "an image");
    const made = ["firmware", "make", "image", "plain.bin", "--firmware-version", "7"];
    expect((await run(kdimgMain, at, made)).code).toBe(0);
    const plain = ["firmware", "show", "plain.bin", "--json", "--otp-version"];
    expect((await run(kdimgMain, at, [...plain, "7"])).json()).toMatchObject({ ok: true, version: 7, imageSize: 8 });
    expect((await run(kdimgMain, at, [...plain, "8"])).code).toBe(5);
    expect((await run(kdimgMain, at, [...plain, "0", "--require-encryption"])).code).toBe(4);
  });
});

describe("k230-boot", () => {
  it("prints what the loader would do", async () => {
    for (const name of ["boot-b-newer", "boot-core0-fallback-hang", "boot-toc-empty"]) {
      const at = folder();
      writeFileSync(join(at, "d.img"), vectorDisk(name));
      const { vendor } = vectorJson<{ vendor: Record<string, unknown> }>(name, "expected.json");
      const dram = ["--dram-base", "0x10000000", "--dram-size", "0x6000000"];
      const { code, json } = await run(k230BootMain, at, ["d.img", "--json", ...dram]);
      expect(code).toBe(0);
      expect(json()).toMatchObject(vendor);
      const checked = await run(k230BootMain, at, ["d.img", "--check", ...dram]);
      expect(checked.code).toBe(vendor["status"] === "boots" ? 0 : 5);
      expect(checked.io.stdout()).toContain(vendor["status"] === "boots" ? "boots slot B" : "does not boot");
    }
  });
});

describe("test_ota", () => {
  it("installs and says so, in both profiles to the same card", async () => {
    const [safe, vendor] = [bench(), bench()];
    const ran = await run(testOtaMain, safe, ["--disk", "card.img", "image.kdimg"]);
    expect([ran.code, ran.io.stderr()]).toEqual([0, expect.stringContaining("read back 2/2 rtapp 100 %")]);
    expect(ran.io.stdout()).toContain("OTA update successful!\n");
    expect(
      (await run(testOtaMain, vendor, ["--disk", "card.img", "--vendor-compatible", "image.kdimg"])).io.stdout(),
    ).toBe("OTA update successful!\n");
    expect(card(safe)).toBe(card(vendor));
  });

  it("refuses with the table's exit codes and leaves the card alone", async () => {
    const at = bench();
    const before = card(at);
    writeFileSync(join(at, "short.kdimg"), IMAGE.subarray(0, 70000));
    expect((await run(testOtaMain, at, ["--disk", "card.img", "short.kdimg"])).code).toBe(3);
    expect((await run(testOtaMain, at, ["--disk", "card.img", "--medium", "spi-nand", "image.kdimg"])).code).toBe(5);
    expect((await run(testOtaMain, at, ["--disk", "none.img", "image.kdimg"])).code).toBe(6);
    expect((await run(testOtaMain, at, ["image.kdimg"])).code).toBe(2);
    expect(card(at)).toBe(before);
    const lax = await run(testOtaMain, at, ["--disk", "card.img", "--vendor-compatible", "short.kdimg"]);
    expect([lax.code, lax.io.stdout()]).toEqual([0, "OTA update successful!\n"]);
    expect(lax.io.stderr()).toContain("nothing was installed");
  });

  it("takes a pipe, a compressed file, and an HTTP body, and finishes a broken download", async () => {
    const [reference, pipe, gz, web] = [bench(), bench(), bench(), bench()];
    await run(testOtaMain, reference, ["--device", "DEVICE.json", "image.kdimg"]);
    expect((await run(testOtaMain, pipe, ["--device", "DEVICE.json", "-"], IMAGE)).code).toBe(0);
    writeFileSync(join(gz, "image.kdimg.gz"), gzipSync(IMAGE));
    expect((await run(testOtaMain, gz, ["--device", "DEVICE.json", "image.kdimg.gz"])).code).toBe(0);
    let cut = true;
    const server = createServer((_request, response) => {
      response.writeHead(200, { "content-length": IMAGE.length });
      if (!cut) return void response.end(IMAGE);
      cut = false;
      response.write(IMAGE.subarray(0, 69800));
      // Late enough that what was sent has arrived.
      setTimeout(() => response.destroy(), 300);
    });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/i.kdimg`;
    const broken = await run(testOtaMain, web, ["--device", "DEVICE.json", url]);
    expect([broken.code, broken.io.stderr()]).toEqual([7, expect.stringContaining("Run the command again")]);
    const again = await run(testOtaMain, web, ["--device", "DEVICE.json", url, "--json"]);
    expect(again.code).toBe(0);
    expect(again.json()).toMatchObject({ outcome: "installed", resumed: true });
    server.close();
    for (const at of [pipe, gz, web]) expect(card(at)).toBe(card(reference));
  });

  it("refuses an unsigned image when the description has keys", async () => {
    const at = bench({ keys: ["release.pub.pem"] });
    const { code, io } = await run(testOtaMain, at, ["--device", "DEVICE.json", "image.kdimg"]);
    expect(code).toBe(4);
    expect(io.stderr()).toContain("no signature");
  });
});

describe("otaforge on K230 images", () => {
  it("inspects, verifies and compares", async () => {
    const at = bench();
    writeFileSync(join(at, "i.kdimg.gz"), gzipSync(IMAGE));
    const inspected = await run(otaforgeMain, at, ["inspect", "image.kdimg", "--json"]);
    expect(inspected.json()).toMatchObject({
      family: "k230",
      installable: true,
      firmware: { rtt: { cryptoType: 0, ok: true } },
    });
    const text = (await run(otaforgeMain, at, ["inspect", "i.kdimg.gz"])).io.stdout();
    expect(text).toContain("takes   rtt: written to rtt of the other slot");
    expect((await run(otaforgeMain, at, ["verify", "image.kdimg"])).code).toBe(0);
    writeFileSync(
      join(at, "bad.kdimg"),
      IMAGE.map((b, i) => (i === 65600 ? b ^ 1 : b)),
    );
    expect((await run(otaforgeMain, at, ["verify", "bad.kdimg"])).code).toBe(3);
    expect((await run(otaforgeMain, at, ["compare", "image.kdimg", "i.kdimg.gz"])).code).toBe(0);
    const other = vectorBytes("install-versions-a1-b2", "image.kdimg.gz");
    writeFileSync(join(at, "other.kdimg"), other);
    expect((await run(otaforgeMain, at, ["compare", "image.kdimg", "other.kdimg"])).code).toBe(5);
  });

  it("keeps a trial: status, rollback without a download, confirmation", async () => {
    const at = bench();
    const health = (...argv: string[]): Promise<Ran> =>
      run(otaforgeMain, at, ["health", ...argv, "--device", "DEVICE.json", "--json"]);
    await run(testOtaMain, at, ["--device", "DEVICE.json", "image.kdimg"]);
    expect((await health("status")).json()).toMatchObject({
      versionA: 1,
      versionB: 2,
      active: "b",
      trial: { verdict: "pending" },
    });
    expect((await health("check", "--starts", "1")).json()).toMatchObject({ action: "waiting" });
    const over = await health("check", "--starts", "1");
    expect([over.code, over.json()["active"]]).toEqual([5, "a"]);
    expect((await run(testOtaMain, at, ["--device", "DEVICE.json", "image.kdimg"])).code).toBe(0);
    expect((await health("confirm")).json()).toMatchObject({ active: "b", trial: { verdict: "confirmed" } });
    expect((await health("check", "--starts", "0")).json()).toMatchObject({ action: "confirmed" });
    expect((await health("rollback")).json()).toMatchObject({ active: "a" });
  });
});
