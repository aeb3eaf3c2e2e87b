import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { placeFor, replaceFile, writeBeside } from "./write-beside.ts";

describe("files written beside their place", () => {
  let folder: string;
  const at = (name: string): string => join(folder, name);
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "otaforge-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("leave a pipe what it is", async () => {
    execFileSync("mkfifo", [at("pipe")]);
    await symlink("pipe", at("link"));
    for (const name of ["pipe", "link"]) {
      await expect(replaceFile(at(name), "text")).rejects.toMatchObject({
        code: "DEVICE_NOT_FILE",
        details: { found: "a pipe or socket" },
      });
    }
    expect((await lstat(at("pipe"))).isFIFO()).toBe(true);
    expect((await lstat(at("link"))).isSymbolicLink()).toBe(true);
    expect(await readdir(folder)).toEqual(["link", "pipe"]);
  });

  it("refuse nodes before any work", async () => {
    await expect(placeFor("/dev/null")).rejects.toMatchObject({ code: "DEVICE_NOT_FILE" });
  });

  it("say before any work that there is no folder", async () => {
    await expect(placeFor(at("none/file"))).rejects.toMatchObject({
      code: "DEVICE_NOT_FOUND",
      details: { where: at("none") },
    });
    await expect(placeFor(folder)).rejects.toMatchObject({ code: "DEVICE_NOT_FILE", details: { found: "a folder" } });
  });

  it("go where a link leads", async () => {
    await mkdir(at("real"));
    await writeFile(at("real/file"), "old");
    await symlink("real/file", at("link"));
    await symlink("real/other", at("new"));
    await replaceFile(at("link"), "text");
    await replaceFile(at("new"), "more");
    expect(await readFile(at("real/file"), "utf8")).toBe("text");
    expect(await readFile(at("real/other"), "utf8")).toBe("more");
    expect((await lstat(at("link"))).isSymbolicLink()).toBe(true);
  });

  it("keep the permissions of what was there", async () => {
    await writeFile(at("program"), "old");
    await chmod(at("program"), 0o750);
    await replaceFile(at("program"), "new");
    expect((await stat(at("program"))).mode & 0o777).toBe(0o750);
  });

  it("take the place of what a killed run of the same number left", async () => {
    await writeFile(at(`.file.${process.pid}.part`), "half");
    await writeBeside(at("file"), (temporary) => writeFile(temporary, "whole", { flag: "wx" }));
    expect(await readFile(at("file"), "utf8")).toBe("whole");
    expect(await readdir(folder)).toEqual(["file"]);
  });

  it("may have names as long as the file system allows", async () => {
    const name = "ü".repeat(127);
    await replaceFile(at(name), "text");
    expect(await readdir(folder)).toEqual([name]);
  });
});
