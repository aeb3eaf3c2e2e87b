import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { VECTORS } from "../../../test/support/sigmastar.ts";
import { captureIo, type CapturedIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { imageOtaMain } from "./image-ota.ts";

interface Flow {
  generation: string;
  answers: string[];
  written_scripts: Record<string, string>;
  otapack_calls: string[][];
}

const root = mkdtempSync(join(tmpdir(), "image-ota-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

function setUp(name: string): { cwd: string; flow: Flow; expected: Buffer } {
  const folder = join(VECTORS, "flow", name);
  const cwd = join(root, String(count++));
  cpSync(join(folder, "inputs"), cwd, { recursive: true });
  const flow = JSON.parse(readFileSync(join(folder, "cmd.json"), "utf8")) as Flow;
  return { cwd, flow, expected: readFileSync(join(folder, "expected.bin")) };
}

async function imageOta(cwd: string, argv: string[], stdin = ""): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd, stdin });
  const code = await runGuarded(
    "image-ota",
    imageOtaMain,
    ["--config", "partition.config", "--images", "images", ...argv],
    io,
  );
  return { code, io };
}

const unpacked = (cwd: string): Buffer => gunzipSync(readFileSync(join(cwd, "images/SStarOta.bin.gz")));

describe("image-ota against the vendor's makefiles", () => {
  it.each(readdirSync(join(VECTORS, "flow")).sort())("%s", async (name) => {
    const { cwd, flow, expected } = setUp(name);
    const { code, io } = await imageOta(cwd, ["--generation", flow.generation], `${flow.answers.join("\n")}\n`);
    expect([io.stderr(), code]).toEqual(["", 0]);
    expect(Buffer.compare(unpacked(cwd), expected)).toBe(0);
    expect(existsSync(join(cwd, "images/SStarOta.bin"))).toBe(false);
    for (const [file, text] of Object.entries(flow.written_scripts)) {
      expect(readFileSync(join(cwd, "images", file), "utf8")).toBe(text);
      expect(statSync(join(cwd, "images", file)).mode & 0o777).toBe(0o644);
    }
    const layout = join(VECTORS, "flow", name, "expected.layout.txt");
    expect(existsSync(join(cwd, "images/SStarOtaLayout.txt"))).toBe(existsSync(layout));
    if (existsSync(layout)) {
      expect(readFileSync(join(cwd, "images/SStarOtaLayout.txt"), "utf8")).toBe(readFileSync(layout, "utf8"));
    }
    expect(io.stdout()).toContain("Start scripts:");
    expect(io.stdout()).toContain("Make kernel ?(yes/no)");
    // The same without questions.
    const chosen = flow.otapack_calls.flatMap((call) => (call.includes("-t") ? [call[1] ?? ""] : []));
    const images = [...new Set(chosen.map((f) => f.replace(/^.*\//, "").replace(/(_s)?\..*$/, "")))];
    const [begin, end] = flow.answers as [string, string];
    const scripts = [...(begin === "" ? [] : ["--begin-script", begin]), ...(end === "" ? [] : ["--end-script", end])];
    const first = readFileSync(join(cwd, "images/SStarOta.bin.gz"));
    const again = await imageOta(cwd, ["--generation", flow.generation, "--select", images.join(","), ...scripts]);
    expect([again.io.stderr(), again.code]).toEqual(["", 0]);
    expect(Buffer.compare(readFileSync(join(cwd, "images/SStarOta.bin.gz")), first)).toBe(0);
  });
});

describe("image-ota", () => {
  it("asks before it replaces a package, and keeps it unless told otherwise", async () => {
    const { cwd, flow, expected } = setUp("v1.6_nor_no_scripts");
    const answers = `${flow.answers.join("\n")}\n`;
    writeFileSync(join(cwd, "images/SStarOta.bin.gz"), "old");
    const kept = await imageOta(cwd, [], `${answers}n\n`);
    expect(kept.code).toBe(2);
    expect(readFileSync(join(cwd, "images/SStarOta.bin.gz"), "utf8")).toBe("old");
    expect(kept.io.stdout()).toContain("do you wish to overwrite");
    expect((await imageOta(cwd, [], `${answers}y\n`)).code).toBe(0);
    expect(Buffer.compare(unpacked(cwd), expected)).toBe(0);
    expect((await imageOta(cwd, ["--yes"])).code).toBe(0);
    expect(Buffer.compare(unpacked(cwd), expected)).toBe(0);
  });

  it("stops without leaving half a package", async () => {
    const { cwd } = setUp("v1.6_nor_no_scripts");
    rmSync(join(cwd, "images/misc.fwfs"));
    const { code, io } = await imageOta(cwd, ["--yes"]);
    expect(code).toBe(2);
    expect(io.stderr()).toContain("misc.fwfs");
    expect(readdirSync(join(cwd, "images")).filter((f) => f.startsWith("SStarOta.bin"))).toEqual([]);
  });

  it("refuses an accepted image without size or node instead of shifting the options", async () => {
    const { cwd } = setUp("v1.6_nor_no_scripts");
    const config = readFileSync(join(cwd, "partition.config"), "utf8");
    writeFileSync(join(cwd, "partition.config"), config.replace(/kernel\$\(PATSIZE\).*/, ""));
    const { code, io } = await imageOta(cwd, ["--yes"]);
    expect([code, io.stderr()]).toEqual([2, expect.stringContaining("kernel$(PATSIZE)")]);
    expect((await imageOta(cwd, ["--yes", "--define", "kernel_patsize=0x20000"])).code).toBe(0);
    expect((await imageOta(cwd, ["--select", "boot,misc"])).code).toBe(0);
  });

  it("refuses images without a rule and selections that are not offered, before anything is made", async () => {
    const { cwd } = setUp("v0.2_nor_no_scripts");
    const config = readFileSync(join(cwd, "partition.config"), "utf8");
    expect((await imageOta(cwd, ["--generation", "v0.2", "--select", "rootfs"])).code).toBe(2);
    writeFileSync(join(cwd, "partition.config"), config.replace("misc$(FSTYPE) = jffs2", "misc$(FSTYPE) = lfs"));
    const { code, io } = await imageOta(cwd, ["--generation", "v0.2", "--yes"]);
    expect([code, io.stderr()]).toEqual([2, expect.stringContaining("no rule")]);
    expect(readdirSync(join(cwd, "images")).filter((f) => f.startsWith("SStarOta"))).toEqual([]);
  });

  it("refuses to write the size of a kernel image that is not there into the boot environment", async () => {
    const { cwd } = setUp("v1.6_spinand_some");
    rmSync(join(cwd, "images/kernel"));
    const { code, io } = await imageOta(cwd, ["--select", "ipl"]);
    expect([code, io.stderr()]).toEqual([2, expect.stringContaining("kernel_otaenv.sh")]);
    expect((await imageOta(cwd, ["--select", "ipl", "--generation", "v0.4"])).code).toBe(0);
  });

  it("makes nothing of an empty list", async () => {
    const { cwd } = setUp("v0.2_nor_no_scripts");
    writeFileSync(join(cwd, "partition.config"), "OTA_IMAGE_LIST =\n");
    expect((await imageOta(cwd, ["--generation", "v0.2"])).code).toBe(0);
    expect((await imageOta(cwd, ["--generation", "v1.6"])).code).toBe(2);
  });

  it("appends the environment of an image in the v0.4 flow", async () => {
    const { cwd } = setUp("v0.4_nor_no_scripts");
    const config = readFileSync(join(cwd, "partition.config"), "utf8");
    writeFileSync(join(cwd, "partition.config"), `${config}kernel$(BLKENV) = ksize 0x10\\nbootcmd run \\$\${x}\n`);
    expect((await imageOta(cwd, ["--generation", "v0.4", "--yes"])).code).toBe(0);
    expect(readFileSync(join(cwd, "images/kernel_otaenv.sh"), "utf8")).toBe(
      "/etc/fw_setenv ksize 0x10\n/etc/fw_setenv bootcmd run ${x}\n",
    );
  });
});
