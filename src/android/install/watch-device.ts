/**
 * A device that remembers its last real failure and whether it was written to: a script only says that something failed, the user
 * needs to know what, and what is left to be done.
 */
import { OtaError } from "../../core/errors.ts";
import type {
  BlockTarget,
  Device,
  FileStore,
  Mounts,
  NodeStore,
  OpenFile,
  ScriptResult,
  ScriptRunner,
} from "../../core/ports.ts";
import { isMediumFailure } from "../updater/device-files.ts";

/** A watched device and what it remembers. */
export interface WatchedDevice {
  readonly device: Device;
  /** The last failure of the medium, if there was one. */
  failure(): OtaError | undefined;
  /** Whether anything outside /cache and /tmp was written, or a program ran that may have. */
  changed(): boolean;
}

type Methods = Record<string, unknown>;

interface Hooks {
  /** A method fails. */
  failed(e: unknown): void;
  /** A method is about to run. */
  before?(name: string): void;
  /** What a method gives, for the caller; the method ran well. */
  after?(name: string, args: readonly unknown[], value: unknown): unknown;
}

/** Wraps every asynchronous method of an object. Getters and plain values stay what they are. */
function watched<T extends object>(object: T, hooks: Hooks): T {
  return new Proxy(object, {
    get(target, name) {
      const value = (target as Methods)[name as string];
      if (typeof value !== "function") return value;
      return async (...args: unknown[]): Promise<unknown> => {
        hooks.before?.(String(name));
        try {
          const given: unknown = await (value as (...a: unknown[]) => unknown).apply(target, args);
          return hooks.after === undefined ? given : hooks.after(String(name), args, given);
        } catch (e) {
          hooks.failed(e);
          throw e;
        }
      };
    },
  });
}

const CHANGING_FILES: ReadonlySet<string> = new Set(["remove", "rename", "makeLink", "makeHardLink", "setAttributes"]);

/** Whether a method of the files changed something that outlives the update. A folder alone changes nothing. */
function changesFiles(name: string, [path, how]: readonly unknown[]): boolean {
  if (typeof path !== "string" || /^\/(cache|tmp)(\/|$)/.test(path)) return false;
  return CHANGING_FILES.has(name) || (name === "open" && how !== "read");
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** Wraps the ports through which a script writes. */
export function watchDevice(device: Device): WatchedDevice {
  let last: OtaError | undefined;
  let changed = false;
  const failed = (e: unknown): void => {
    if (e instanceof OtaError && isMediumFailure(e)) last = e;
  };
  const files: FileStore = watched(device.files, {
    failed,
    after(name, args, value) {
      if (changesFiles(name, args)) changed = true;
      return name === "open" && isObject(value) ? watched(value as OpenFile, { failed }) : value;
    },
  });
  const nodes: NodeStore = watched(device.nodes, {
    failed,
    after: (name, _args, value) =>
      name === "open" && isObject(value)
        ? watched(value as BlockTarget, {
            failed,
            // A write that fails may have written a part.
            before(method) {
              if (method === "write" || method === "erase") changed = true;
            },
          })
        : value,
  });
  const mounts: Mounts = watched(device.mounts, {
    failed,
    before(name) {
      if (name === "format") changed = true;
    },
  });
  const scripts: ScriptRunner = watched(device.scripts, {
    failed,
    after(_name, _args, value) {
      if ((value as ScriptResult).ran) changed = true;
      return value;
    },
  });
  return {
    device: new Proxy(device, {
      get(target, name) {
        if (name === "files") return files;
        if (name === "nodes") return nodes;
        if (name === "mounts") return mounts;
        if (name === "scripts") return scripts;
        const value = Reflect.get(target, name) as unknown;
        return typeof value === "function" ? (value as (...a: unknown[]) => unknown).bind(target) : value;
      },
    }),
    failure: () => last,
    changed: () => changed,
  };
}
