import { describe, expect, it } from "vitest";
import type { RunProgram } from "../run-program.ts";
import { boardLabels } from "./board-labels.ts";

/** A `setfattr` that keeps what it is asked; `knowsLists`: with `--restore`. A path with "gone" in it fails. */
function attr(knowsLists: boolean): { run: RunProgram; calls: string[][]; lists: string[] } {
  const calls: string[][] = [];
  const lists: string[] = [];
  const run: RunProgram = async (program, args, options) => {
    expect(program).toBe("setfattr");
    calls.push([...args]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of options?.input ?? []) chunks.push(chunk);
    const input = Buffer.concat(chunks).toString();
    if (args.includes("--restore=-")) lists.push(input);
    const failed = (args.includes("--restore=-") && !knowsLists) || `${args.join(" ")}${input}`.includes("gone");
    return { exitCode: failed ? 1 : 0, stdout: new Uint8Array(), stderr: failed ? "no such file" : "" };
  };
  return { run, calls, lists };
}

const at = (path: string): Buffer => Buffer.from(path);

describe("labels of a board's files", () => {
  it("are set by one program for all files that are asked for at once", async () => {
    const { run, calls, lists } = attr(true);
    const labels = boardLabels(run);
    await Promise.all([
      labels.set(at("/system/a b\\c"), { selinuxLabel: "u:object_r:x:s0", capabilities: 0n }),
      labels.set(at("/system/run-as"), { selinuxLabel: "u", capabilities: 0xc0n }),
      labels.set(at("/system/plain"), { capabilities: 0n }),
    ]);
    expect(lists).toEqual([
      "# file: /system/a\\040b\\134c\nsecurity.selinux=0x753a6f626a6563745f723a783a733000\n\n" +
        "# file: /system/run-as\nsecurity.selinux=0x7500\nsecurity.capability=0x01000002c0000000000000000000000000000000\n\n",
    ]);
    expect(calls).toEqual([
      ["-h", "--restore=-"],
      ["-h", "-x", "security.capability", "--", "/system/a b\\c", "/system/plain"],
    ]);
  });

  it("one by one where the program knows no lists, and only the caller of the one that fails is told", async () => {
    for (const knowsLists of [true, false]) {
      const { run, calls } = attr(knowsLists);
      const labels = boardLabels(run);
      const ended = await Promise.allSettled(
        ["/a", "/gone", "/b"].map((path) => labels.set(at(path), { selinuxLabel: "u" })),
      );
      expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      expect((ended[1] as PromiseRejectedResult).reason).toMatchObject({ code: "DEVICE_IO" });
      expect(calls.filter((args) => args.includes("/b") && args.includes("security.selinux"))).toHaveLength(1);
    }
  });
});
