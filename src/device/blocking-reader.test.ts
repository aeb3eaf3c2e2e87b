import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openBlockingReader } from "./blocking-reader.ts";

const folder = mkdtempSync(join(tmpdir(), "blocking-reader-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("openBlockingReader", () => {
  it("reads at any offset, into new arrays and the caller's", async () => {
    const path = join(folder, "file");
    writeFileSync(
      path,
      Uint8Array.from({ length: 100 }, (_, i) => i),
    );
    const reader = await openBlockingReader(path);
    expect(reader.size).toBe(100);
    expect([...(await reader.read(90, 10))]).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
    const out = new Uint8Array(3);
    await reader.readInto?.(7, out);
    expect([...out]).toEqual([7, 8, 9]);
    await expect(reader.read(91, 10)).rejects.toMatchObject({ code: "READ_PAST_END" });
    truncateSync(path, 50);
    await expect(reader.read(45, 10)).rejects.toMatchObject({ code: "READ_PAST_END" });
    reader.close();
  });

  it("says what is wrong with a path", async () => {
    await expect(openBlockingReader(join(folder, "none"))).rejects.toMatchObject({ code: "DEVICE_NOT_FOUND" });
    await expect(openBlockingReader(folder)).rejects.toMatchObject({ code: "DEVICE_NOT_FILE" });
  });
});
