/** A device whose every change is noted: what a refused package must leave empty. */
import type { OpenedDevice } from "../../src/device/index.ts";

/** What changes something on a target. Mounting and opening for writing do not. */
const CHANGES: Readonly<Record<string, readonly string[]>> = {
  target: ["write", "erase", "markBad"],
  file: ["write", "truncate"],
  files: ["makeFolder", "rename", "remove", "makeLink", "makeHardLink", "setAttributes"],
  ubi: ["update", "create", "remove", "swapNames"],
  mounts: ["format"],
  scripts: ["run"],
};

export interface CountedDevice {
  readonly device: OpenedDevice;
  /** Every change since the beginning, in order: `nodes.write /dev/mtd5`. */
  readonly changes: string[];
}

/** `device`, its changes noted on their way to it; its state folder is not a target. */
export function countChanges(device: OpenedDevice): CountedDevice {
  const changes: string[] = [];
  const watch = <T extends object>(object: T, kind: string, name: string): T =>
    new Proxy(object, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          if (CHANGES[kind]?.includes(String(key)) === true) changes.push(`${name}.${String(key)} ${String(args[0])}`);
          const opens = key === "open" && (kind === "nodes" || kind === "files");
          if (kind === "files" && opens && String(args[1]).startsWith("create"))
            changes.push(`create ${String(args[0])}`);
          const result: unknown = Reflect.apply(value, target, args);
          if (!opens) return result;
          const inner = kind === "nodes" ? "target" : "file";
          return (result as Promise<object>).then((opened) => watch(opened, inner, `${name} ${String(args[0])}`));
        };
      },
    });
  return {
    changes,
    device: {
      ...device,
      nodes: watch(device.nodes, "nodes", "nodes"),
      files: watch(device.files, "files", "files"),
      ubi: watch(device.ubi, "ubi", "ubi"),
      mounts: watch(device.mounts, "mounts", "mounts"),
      scripts: watch(device.scripts, "scripts", "scripts"),
    },
  };
}
