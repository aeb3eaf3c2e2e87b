/** Our reader of makefile fragments against the real make: every variable must have the same value, blanks included. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readPartitionConfig } from "../../src/sigmastar/partition-config.ts";

const root = mkdtempSync(join(tmpdir(), "partition-config-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const KEYS = ["PATSIZE", "FSTYPE", "OTABLK", "DATASIZE"].map((k) => `${k} := _${k.toLowerCase()}`).join("\n");
const FRAGMENTS: Record<string, string> = {
  "assignments and blanks": `
A = one   # comment behind blanks
B :=   two\t
C = $(A)|$(B)|$(D)
D = late
E += first
E += second
E +=
E += third
F := now $(D)
F += $(G)
G = after
H ?= new
A2 = a\\#b
I = x \\
    y \\
  z
J = $$HOME $$(x) \${D} $D
K:=no blanks
L ::= posix
export M = exported
override N = overridden
k$(PATSIZE) = 0x10
kk = $(k$(PATSIZE)) $(k_patsize)
`,
  functions: `
A = $(subst a,bb,banana) $(patsubst %.c,%.o,x.c y.h) $(A1:.c=.o) $(A1:%.c=lib%.a)
A1 = p.c q.c
B = [$(strip   a   b  )] $(findstring nor,spinor) $(filter %.c x%,a.c b.h xy) $(filter-out %.c,a.c b.h)
C = $(sort c a b a) $(word 2,x y z) [$(word 9,x)] $(words a b c) $(wordlist 2,3,a b c d) $(firstword q r) $(lastword q r)
D = $(dir a/b.c d.e) $(notdir a/b.c d.e) $(suffix a.b c d.e/f) $(basename a.b c d.e/f) $(addsuffix .x,a b) $(addprefix p-,a b) $(join a b,1 2 3)
E = $(if ,yes,no) $(if x,yes,no) [$(if ,yes)] $(or ,,c,d) [$(and a,,b)] $(and a,b)
F = $(foreach i,1 2 3,<$(i)>) $(foreach i,$(A1),$(if $(filter p.c,$(i)),P,Q))
G = $(call two,x,y) $(call two,a b,) $(call nest,z)
two = ($(1)-$(2))
nest = $(call two,$(1),$(1))
H = $(value A1) $(origin A1) $(origin nothing) $(flavor A1) $(flavor nothing)
I = $(patsubst a%,b,abc a) $(subst  ,-,a b)
J = \${subst x,(y),x}
`,
  conditionals: `
T = spinand
ifeq ($(T),spinand)
A = 1
 ifneq "$(T)" "nor"
  A += 2
 else
  A += 3
 endif
else
A = 4
endif
ifdef NOTHING
B = 1
else ifdef T
B = 2
else
B = 3
endif
ifndef B
C = 1
endif
ifeq (,$(NOTHING))
D = empty
endif
ifeq '$(strip $(T) )' 'spinand'
E = quoted
endif
define F
line one
$(T) two
endef
`,
};

function fromMake(text: string, names: readonly string[]): Record<string, string> {
  const file = join(root, "Makefile");
  const prints = names.map((n) => `$(info <<${n}=$(${n})>>)`).join("\n");
  writeFileSync(file, `${KEYS}\n${text}\n${prints}\nall:;@:\n`);
  const { stdout, status, stderr, error } = spawnSync("make", ["-s", "-R", "-f", file], {
    encoding: "utf8",
    cwd: root,
  });
  if (error !== undefined) throw error;
  expect([status, stderr]).toEqual([0, ""]);
  return Object.fromEntries([...stdout.matchAll(/<<(\w+)=([^]*?)>>\n/g)].map((m) => [m[1] as string, m[2] as string]));
}

describe("the reader of partition configurations agrees with make", () => {
  it.each(Object.keys(FRAGMENTS))("on %s", (title) => {
    const text = FRAGMENTS[title] as string;
    const names = [
      ...new Set([...text.matchAll(/^\s*(?:export |override |define )?([A-Z]\w*|kk)\b/gm)].map((m) => m[1] as string)),
    ];
    const config = readPartitionConfig(`${KEYS}\n${text}`, "x.config");
    const ours = Object.fromEntries(names.map((n) => [n, config.value(n)]));
    expect(ours).toEqual(fromMake(text, names));
  });
});
