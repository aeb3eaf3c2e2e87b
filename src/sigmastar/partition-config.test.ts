import { describe, expect, it } from "vitest";
import { OtaError } from "../core/errors.ts";
import { environmentScript, imageRule } from "./image-ota.ts";
import { readPartitionConfig } from "./partition-config.ts";

const read = (text: string, defines: Record<string, string> = {}) =>
  readPartitionConfig(text, "x.partition.config", {
    defines,
    fileSize: (path) => (path === "out/kernel" ? 4660 : undefined),
    readInclude: (path) => (path === "common.mk" ? "FLASH_TYPE = spinand\n" : undefined),
  });
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "fine";
  } catch (e) {
    if (e instanceof OtaError) return e.code;
    throw e;
  }
};

describe("partition configurations", () => {
  it("expands attributes, references to later values and all kinds of assignment", () => {
    const c = read(
      [
        "A = $(B) tail # comment",
        "B := first",
        "B += second",
        "C ?= default",
        "C ?= other",
        "kernel$(PATSIZE) = $(kernel$(DATASIZE))",
        "kernel$(DATASIZE) = 0x10",
        "kernel$(NEWKEY) = yes",
        "long = one \\",
        "   two",
        "hash = a\\#b",
        "dollar = $$x ${B}",
        "override export D = $(C)",
        "define multi",
        "x",
        "y",
        "endef",
        "E = $(A:second=2nd) $(list:%.c=%.o)",
        "list = p.c q.c",
      ].join("\n"),
    );
    expect(c.value("A")).toBe("first second tail ");
    expect(c.value("C")).toBe("default");
    expect(c.attribute("kernel", "PATSIZE")).toBe("0x10");
    expect(c.attribute("kernel", "NEWKEY")).toBe("yes");
    expect([c.value("long"), c.value("hash"), c.value("dollar")]).toEqual(["one two", "a#b", "$x first second"]);
    expect([c.value("D"), c.value("multi")]).toEqual(["default", "x\ny"]);
    expect(c.value("E")).toBe("first 2nd tail p.o q.o");
    expect(c.value("nothing")).toBe("");
  });

  it("evaluates conditionals, nested and chained", () => {
    const text = `
FLASH = nor
ifeq ($(FLASH), spinand)
X = 1
else ifeq "$(FLASH)" 'nor'
  ifneq ($(FLASH),emmc)
X = 2
  else
X = 3
  endif
else
X = 4
$(error not reached)
endif
ifdef X
Y = yes
endif
ifndef X
Y = no
endif
`;
    expect([read(text).value("X"), read(text).value("Y")]).toEqual(["2", "yes"]);
    expect(read(text, { FLASH: "spinand" }).value("X")).toBe("1");
    expect(() => read(text, { FLASH: "emmc" })).toThrow("not reached");
    expect(codeOf(() => read("ifeq (a,b)\n"))).toBe("SIGMASTAR_CONFIG");
    expect(codeOf(() => read("endif\n"))).toBe("SIGMASTAR_CONFIG");
  });

  it("computes with the tree's helpers and make's functions", () => {
    const c = read(`
product = $(call multiplyhex, 3, 0x1000)
sum = $(call sum, 0x10 16 $(one))
one = 1
sub = $(call sub, 0x100, 0x10 16)
align = $(call alignup, 0x1001, 0x1000)
max = $(call max, 5, 0x4)
size = $(call filesize, out/kernel)
own = $(call twice,ab)
twice = $(1)$(1)
text = $(patsubst %.img,%.bin,a.img b.x) $(filter-out b%,a b c) $(word 2,x y z) $(words x y) $(notdir p/q.r) $(if $(no),1,2)
each = $(foreach i,a b,$(i)_$($(i)$(FSTYPE)))
a$(FSTYPE) = squashfs
`);
    expect(["product", "sum", "sub", "align", "max", "size"].map((n) => c.value(n))).toEqual([
      "0x3000",
      "0x21",
      "0xe0",
      "0x2000",
      "0x5",
      "4660",
    ]);
    expect(c.value("own")).toBe("abab");
    expect(c.value("text")).toBe("a.bin b.x a c y 2 q.r 2");
    expect(c.value("each")).toBe("a_squashfs b_");
  });

  it("reports a shell only where its value is needed", () => {
    const c = read("S := $(shell stat x)\nT = $[0x10*2]\nU = fine\nV = $(wildcard *)\nW = $(S)");
    expect(c.value("U")).toBe("fine");
    for (const name of ["S", "T", "V", "W"]) {
      expect(codeOf(() => c.value(name))).toBe("SIGMASTAR_CONFIG_UNSUPPORTED");
    }
    expect(codeOf(() => read("ifeq ($(shell uname),Linux)\nendif"))).toBe("SIGMASTAR_CONFIG_UNSUPPORTED");
    expect(read("S := $(shell stat x)", { S: "7" }).value("S")).toBe("7");
  });

  it("includes files, skips rules, and ends on self-reference, explosions and nonsense", () => {
    expect(read("include common.mk\n-include none.mk\nall: x\n\techo $(shell date)\nB = 1").value("FLASH_TYPE")).toBe(
      "spinand",
    );
    expect(codeOf(() => read("include none.mk"))).toBe("SIGMASTAR_CONFIG");
    expect(codeOf(() => read("A = $(A) x").value("A"))).toBe("SIGMASTAR_CONFIG");
    const doubling = Array.from({ length: 60 }, (_, i) => `v${i} = $(v${i + 1})$(v${i + 1})`).join("\n");
    expect(codeOf(() => read(doubling).value("v0"))).toBe("SIGMASTAR_CONFIG");
    expect(codeOf(() => read("what is this"))).toBe("SIGMASTAR_CONFIG");
    expect(codeOf(() => read("A = $(B").value("A"))).toBe("SIGMASTAR_CONFIG");
    expect(() => read("ok = 1\nwhat is this")).toThrow("x.partition.config:2");
  });
});

describe("the rules of image-ota", () => {
  const rule = (generation: "v0.2" | "v0.4" | "v1.6", image: string, fileSystem: string, flash: string): string => {
    const r = imageRule(generation, { image, fileSystem, flash });
    return r === undefined ? "none" : `${r.file} ${r.operation}`;
  };
  it("follow the published table", () => {
    expect(rule("v1.6", "ipl", "", "spinand")).toBe("ipl_s.bin --block-update");
    expect(rule("v0.4", "uboot", "", "sdmmc")).toBe("boot/UBOOT --file-update");
    expect(rule("v1.6", "uboot", "", "sdmmc")).toBe("none");
    expect(rule("v0.2", "ipl", "", "nor")).toBe("none");
    expect(rule("v0.2", "boot", "", "emmc")).toBe("boot.bin --block-update");
    expect(rule("v0.4", "rootfs", "ramfs", "nor")).toBe("rootfs.ramfs --block-update");
    expect(rule("v1.6", "rootfs", "ramfs", "nor")).toBe("none");
    expect(rule("v1.6", "x", "ubifs", "nor")).toBe("x.ubifs --ubi-update");
    expect(rule("v0.2", "x", "ext4", "emmc")).toBe("none");
    expect(rule("v1.6", "x", "ext4", "emmc")).toBe("x.ext4 --block-update");
    expect(rule("v1.6", "x", "vfat", "emmc")).toBe("none");
    expect(rule("v1.6", "constructor", "", "nor")).toBe("none");
  });
  it("write environment lines as echo -e and sed do", () => {
    expect(environmentScript("a 1\\nb 2")).toBe("/etc/fw_setenv a 1\n/etc/fw_setenv b 2\n");
  });
});
