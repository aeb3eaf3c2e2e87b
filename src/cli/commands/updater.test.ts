// The descriptor of the update-binary protocol: what happens when it is none, or its reader is gone.
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makePackage } from "../../../test/support/android-device.ts";
import { captureIo } from "../io.ts";
import { updaterMain } from "./updater.ts";

let folder = "";
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "otaforge-updater-"));
  mkdirSync(join(folder, "root"));
  writeFileSync(join(folder, "DEVICE.json"), JSON.stringify({ family: "android", root: "root" }));
  const reader = await makePackage('ui_print("a"); package_extract_file("f", "/f"); ui_print("b");', { f: "new" });
  writeFileSync(join(folder, "p.zip"), await reader.read(0, reader.size));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function run(fd: string) {
  const io = captureIo({ cwd: folder });
  const code = await updaterMain(["3", fd, "p.zip", "--device", "DEVICE.json", "--era", "4.4"], io);
  return { code, err: io.stderr(), written: existsSync(join(folder, "root/f")) };
}

async function runInto(path: string, flags: "r" | "w") {
  const fd = openSync(path, flags);
  try {
    return await run(String(fd));
  } finally {
    closeSync(fd);
  }
}

describe("updater", () => {
  it("writes its commands to the descriptor", async () => {
    expect(await runInto(join(folder, "pipe"), "w")).toMatchObject({ code: 0, written: true });
    const lines = ["Warning: No file_contexts", "a", undefined, "b", undefined, "script succeeded: result was [b]"];
    const text = lines.map((line) => (line === undefined ? "ui_print\n" : `ui_print ${line}\n`)).join("");
    expect(readFileSync(join(folder, "pipe"), "latin1")).toBe(text);
  });

  it("begins nothing with a descriptor that is none, or only for reading", async () => {
    expect(await run("999999")).toMatchObject({ code: 1, written: false });
    const got = await runInto(join(folder, "p.zip"), "r");
    expect(got).toMatchObject({ code: 1, written: false });
    expect(got.err).toMatch(/^updater: FD \(\d+\) is no descriptor that is open for writing\n$/);
  });

  it.runIf(existsSync("/dev/full"))(
    "brings the update to its end when nobody takes its commands any more",
    async () => {
      const got = await runInto("/dev/full", "w");
      expect(got).toMatchObject({ code: 0, written: true });
      expect(got.err.match(/warning: nobody reads descriptor/g)).toHaveLength(1);
    },
  );
});
