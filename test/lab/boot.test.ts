import { describe, expect, test } from "vitest";
import { Guest } from "./guest.ts";
import { runInMachine } from "./machine.ts";

describe("the laboratory", () => {
  test("boots Debian's kernel with MTD, UBI and our build", async () => {
    const output = await runInMachine({
      withApp: true,
      script: `
set -e
modprobe nandsim first_id_byte=0xec second_id_byte=0xa1 third_id_byte=0x00 fourth_id_byte=0x15
cat /proc/mtd
node /app/bin/otaforge --version
node /app/bin/otaforge doctor
`,
    });
    expect(output).toContain("NAND simulator");
    expect(output).toMatch(/^0\.1\.0$/m);
    expect(output).toContain("found    ubiupdatevol");
  });

  test("runs commands for a test, tells their exit codes, and ends", async () => {
    const guest = await Guest.boot({});
    expect(await guest.sh("echo out; echo error >&2; exit 3", 3)).toEqual({ code: 3, out: "out\n", err: "error\n" });
    expect((await guest.command("otaforge", ["--version"])).out).toBe("0.1.0\n");
    expect((await guest.command("otaforge", ["verify", "/nothing"], "any")).code).not.toBe(0);
    await guest.end();
  });

  test("a failing script fails the test, with what the machine said", async () => {
    await expect(runInMachine({ script: "echo something is wrong\nexit 4\n" })).rejects.toThrow(
      /something is wrong\s+LAB-EXIT 4/,
    );
  });
});
