import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isOtaError } from "../core/index.ts";
import { deviceJsonSchema, parseDescription } from "./index.ts";

function message(description: unknown): string {
  try {
    parseDescription(typeof description === "string" ? description : JSON.stringify(description), "DEVICE.json");
    return "fine";
  } catch (e) {
    return isOtaError(e, "DEVICE_DESCRIPTION") ? e.message : String(e);
  }
}

describe("the device description", () => {
  test("the published schema is the one that is checked", () => {
    const published = readFileSync(new URL("../../docs/device.schema.json", import.meta.url), "utf8");
    expect(JSON.parse(published)).toEqual(deviceJsonSchema());
  });

  test("the promised example is accepted", () => {
    expect(
      message({
        family: "sigmastar",
        hardware: "text",
        root: "root",
        nodes: {
          "/dev/mtd4": { file: "kernel.img", kind: "block", size: 5242880 },
          "/dev/mtd7": { file: "nand.img", kind: "nand", eraseSize: 131072, badBlocks: [3] },
          "/dev/ubi0_1": { file: "vol1.ubifs", kind: "ubi", size: 8388608 },
        },
        card: "card.img",
        medium: "sdcard",
        mounts: { "/system": { dir: "system", node: "/dev/block/by-name/system" }, "/cache": { dir: "cache" } },
        properties: { "ro.product.device": "tiny" },
        running: "a",
        state: "state",
        keys: ["release.pub.pem"],
        minimumVersion: "1.4.0",
      }),
    ).toBe("fine");
    expect(message({})).toBe("fine");
  });

  test.each([
    [{ hardwear: "x" }, 'unknown field (DEVICE.json, field hardwear). Did you mean "hardware"?'],
    [
      { nodes: { "/dev/a": { file: "a", kind: "block", erasesize: 1 } } },
      'field nodes."/dev/a".erasesize). Did you mean "eraseSize"?',
    ],
    [
      { nodes: { "/dev/a": { file: "a", kind: "nond" } } },
      'field nodes."/dev/a".kind): expected one of "block", "nand"',
    ],
    [{ nodes: { "/dev/a": { file: "a", kind: "nond" } } }, 'found "nond". Did you mean "nand"?'],
    [{ nodes: { "/dev/a": { kind: "nand" } } }, 'field nodes."/dev/a".file): expected string'],
    [{ nodes: { "/dev/a": { file: "a", kind: "ubi", size: -1 } } }, 'field nodes."/dev/a".size'],
    [{ nodes: { a: { file: "a", kind: "ubi" } } }, "field nodes.a): expected a path that begins with /"],
    [{ keys: "a.pem" }, "field keys): expected array"],
    [{ keys: ["a", 5] }, "field keys[1]): expected string"],
    [{ mounts: { "/a": { dir: "a", image: "b" } } }, "has both dir and image"],
    [{ running: "A" }, 'Did you mean "a"?'],
    ["{", "is not JSON"],
    ["[]", "expected object"],
  ])("%j: %s", (description, expected) => {
    expect(message(description)).toContain(expected);
  });
});
