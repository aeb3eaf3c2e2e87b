import { describe, expect, it } from "vitest";
import { explainScript, parseEdify } from "./index.ts";

const explain = (text: string) =>
  explainScript(parseEdify(text, { era: "4.4" })).map((s) => `${s.depth} ${s.kind}: ${s.text}`);

describe("the explanation of a script", () => {
  it("shows names in UTF-8 as they read, and bytes that are none", () => {
    const script = new Uint8Array(
      Buffer.concat([Buffer.from('delete("/system/Grüße.txt", "/system/'), Buffer.of(0xff), Buffer.from('");')]),
    );
    expect(explainScript(parseEdify(script, { era: "4.4" })).map(({ text }) => text)).toEqual([
      "Delete /system/Grüße.txt, /system/\\xff.",
    ]);
  });

  it("says what is checked, patched, deleted and written, in order", () => {
    expect(
      explain(`mount("ext4", "EMMC", "/dev/x", "/system");
getprop("ro.product.device") == "tiny" || abort("not tiny");
apply_patch_check("/system/a", "11", "22") || abort("a is odd");
apply_patch("EMMC:/dev/boot:1:aa", "-", bb, 7, aa, package_extract_file("p"));
delete("/system/b");
block_image_update("/dev/x", package_extract_file("l"), "n", "p") || abort("E1001: no");
if less_than_int(1, getprop("v")) then reboot_now("/dev/misc", "") else set_stage("/dev/misc", "2/3") endif;`),
    ).toEqual([
      "0 mount: Mount /dev/x (ext4) at /system.",
      '0 check: Stop with "not tiny" unless property ro.product.device is tiny.',
      '0 check: Stop with "a is odd" unless /system/a has known contents (2 accepted).',
      "0 write: Patch partition /dev/boot (7 bytes, SHA-1 bb).",
      "0 write: Delete /system/b.",
      "0 write: Rewrite the blocks of /dev/x by the package's file l.",
      '0 control: If that fails: stop with "E1001: no".',
      "0 control: If 1 is less than property v:",
      "1 control: Restart at once.",
      "0 control: Otherwise:",
      '1 write: Note the stage "2/3" in /dev/misc.',
    ]);
  });

  it("says what conditions and options mean", () => {
    expect(
      explain(`if is_mounted("/system") then unmount("/system") endif;
mount("ext4", "EMMC", "/dev/x", "/system", "barrier=1");
sha1_check(read_file("EMMC:/dev/boot:1:aa"), "aa") || abort("no");
ifelse(block_image_recover("/dev/x", "2,0,1"), "", abort());`),
    ).toEqual([
      "0 control: If /system is mounted:",
      "1 mount: Unmount /system.",
      "0 mount: Mount /dev/x (ext4, barrier=1) at /system.",
      '0 check: Stop with "no" unless partition /dev/boot has the SHA-1 aa.',
      "0 control: If blocks of /dev/x can be repaired from error correction data:",
      "0 control: Otherwise:",
      "1 control: Stop.",
    ]);
  });

  it("survives any nesting and makes control characters visible", () => {
    expect(explain("(".repeat(900) + "f(a)" + ")".repeat(900))).toHaveLength(1);
    expect(explain('"" || '.repeat(3000) + "f()").length).toBeGreaterThan(0);
    expect(explain('ui_print("\\x1b[2J")')).toEqual(['0 tell: Show the text "\\x1b[2J".']);
  });
});
