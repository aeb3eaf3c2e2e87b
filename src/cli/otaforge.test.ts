import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { captureIo, type CapturedIo } from "./io.ts";
import { otaforgeMain, SUBCOMMANDS } from "./otaforge.ts";
import { runGuarded } from "./run.ts";

async function run(...argv: string[]): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd: mkdtempSync(join(tmpdir(), "otaforge-")) });
  return { code: await runGuarded("otaforge", otaforgeMain, argv, io), io };
}

describe("otaforge", () => {
  test("without arguments prints its help and exits 2", async () => {
    const { code, io } = await run();
    expect(code).toBe(2);
    for (const name of Object.keys(SUBCOMMANDS)) expect(io.stdout()).toContain(name);
    expect(io.stdout()).toContain("7 interrupted");
  });

  test("suggests the command and the option that was meant", async () => {
    const command = await run("inspekt", "x");
    expect(command.code).toBe(2);
    expect(command.io.stderr()).toContain("Did you mean inspect?");
    const option = await run("verify", "--kee", "x", "y");
    expect(option.code).toBe(2);
    expect(option.io.stderr()).toContain("Did you mean --key?");
  });

  test("every subcommand has a help of its own", async () => {
    for (const name of Object.keys(SUBCOMMANDS)) {
      const { code, io } = await run(name, "--help");
      expect(code).toBe(0);
      expect(io.stdout()).toContain(`Usage: otaforge ${name}`);
    }
  });

  test("a file that is no package is exit 3 and says what was expected and found", async () => {
    const io = captureIo({ cwd: mkdtempSync(join(tmpdir(), "otaforge-")) });
    writeFileSync(join(io.cwd, "x.bin"), "hello, this is no package");
    expect(await runGuarded("otaforge", otaforgeMain, ["inspect", "x.bin"], io)).toBe(3);
    expect(io.stderr()).toContain("x.bin");
    expect(io.stderr()).toContain("kdimg");
    expect(io.stderr()).toContain("68656c6c6f");
  });

  test("a file that is not there is exit 6, as JSON too", async () => {
    const { code, io } = await run("inspect", "--json", "missing.bin");
    expect(code).toBe(6);
    expect(JSON.parse(io.stdout())).toMatchObject({ error: { code: "DEVICE_NOT_FOUND" } });
  });

  test("an empty file is exit 3", async () => {
    const io = captureIo({ cwd: mkdtempSync(join(tmpdir(), "otaforge-")) });
    writeFileSync(join(io.cwd, "empty"), "");
    expect(await runGuarded("otaforge", otaforgeMain, ["verify", "empty"], io)).toBe(3);
    expect(io.stderr()).toContain("empty file");
  });

  test("an exception that is no OtaError is a bug: exit 70", async () => {
    const io = captureIo();
    const broken = (): Promise<number> => Promise.reject(new TypeError("x is not a function"));
    expect(await runGuarded("otaforge", broken, [], io)).toBe(70);
    expect(io.stderr()).toContain("this is a bug");
  });

  test("completion scripts name every subcommand and its options", async () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      const { code, io } = await run("completion", shell);
      expect(code).toBe(0);
      for (const name of Object.keys(SUBCOMMANDS)) expect(io.stdout()).toContain(name);
      expect(io.stdout()).toContain(shell === "fish" ? "-l seed" : "--seed");
    }
    expect((await run("completion", "tcsh")).code).toBe(2);
  });

  test("doctor lists tools with the package that brings each", async () => {
    const { code, io } = await run("doctor", "--json");
    expect(code).toBe(0);
    const { tools } = JSON.parse(io.stdout()) as { tools: { program: string; debianPackage: string }[] };
    expect(tools.find((t) => t.program === "ubiupdatevol")?.debianPackage).toBe("mtd-utils");
    expect(tools.find((t) => t.program === "setfattr")?.debianPackage).toBe("attr");
  });
});
