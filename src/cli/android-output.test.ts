import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { createPendingFile } from "./android-output.ts";
import { gzipFile } from "./gzip-file.ts";

const folder = mkdtempSync(join(tmpdir(), "otaforge-output-"));
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

it("packages replace no pipe, and leave nothing where there is no place for them", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  await expect(createPendingFile(pipe)).rejects.toMatchObject({ code: "DEVICE_NOT_FILE" });
  await expect(gzipFile(import.meta.filename, pipe, { aborted: false })).rejects.toMatchObject({
    code: "DEVICE_NOT_FILE",
  });
  await expect(createPendingFile(join(folder, "none/p.zip"))).rejects.toMatchObject({ code: "DEVICE_NOT_FOUND" });
  expect(lstatSync(pipe).isFIFO()).toBe(true);
  expect(readdirSync(folder)).toEqual(["pipe"]);
});
