import { describe, expect, test } from "vitest";
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
});
