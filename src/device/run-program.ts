/** Programs of the board: started with an argument list, never through a shell. */
import { spawn } from "node:child_process";
import { OtaError, concatBytes, decodeText } from "../core/index.ts";
import type { ByteStream } from "../core/index.ts";
import { systemCode } from "./system-errors.ts";

export interface ProgramResult {
  /** Exit code; 128 and the signal's number when it was killed. */
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly input?: ByteStream;
  readonly variables?: Readonly<Record<string, string>>;
  readonly folder?: string;
  /** Where its output goes: gathered, or shown on our standard error (ours on stdout is for JSON). Default gathered. */
  readonly output?: "gather" | "show";
}

/** Output that is gathered at most, bytes: tools of a board say little. */
const MAX_OUTPUT = 64 << 20;

/** Programs of the board often lie where only root's path leads. */
const SEARCH_PATH = [process.env["PATH"], "/usr/sbin", "/sbin"].filter((part) => part !== undefined).join(":");

/** How to start programs; tests put their own in place. */
export type RunProgram = (program: string, args: readonly string[], options?: ProgramOptions) => Promise<ProgramResult>;

/** @throws OtaError DEVICE_TOOL_MISSING when the program is not there */
export const runProgram: RunProgram = async (program, args, options = {}) => {
  const show = options.output === "show";
  const child = spawn(program, args, {
    stdio: ["pipe", show ? 2 : "pipe", show ? 2 : "pipe"],
    ...(options.folder === undefined ? {} : { cwd: options.folder }),
    env: { ...process.env, PATH: SEARCH_PATH, ...options.variables },
  });
  const stdout: Uint8Array[] = [];
  const stderr: Uint8Array[] = [];
  let size = 0;
  const gather = (into: Uint8Array[]) => (chunk: Uint8Array) => {
    size += chunk.length;
    if (size <= MAX_OUTPUT) into.push(chunk);
  };
  child.stdout?.on("data", gather(stdout));
  child.stderr?.on("data", gather(stderr));
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", (e) => {
      const missing = systemCode(e) === "ENOENT" || systemCode(e) === "EACCES";
      const hint =
        "Install it where this command runs (Debian: apt install mtd-utils attr e2fsprogs); otaforge doctor lists them.";
      reject(
        missing ? new OtaError("DEVICE_TOOL_MISSING", { what: "a program is missing", where: program, hint }, e) : e,
      );
    });
    child.on("close", (code, signal) => resolve(code ?? (signal === null ? 255 : 128 + signalNumber(signal))));
  });
  const stdin = child.stdin;
  // A program may end without reading everything; its exit code tells what that means.
  stdin?.on("error", () => undefined);
  const feed = async (): Promise<void> => {
    if (stdin === null) return;
    for await (const chunk of options.input ?? []) {
      if (stdin.destroyed || !stdin.writable) return;
      if (!stdin.write(chunk)) {
        await new Promise<void>((resolve) => {
          const done = (): void => {
            stdin.off("drain", done).off("close", done);
            resolve();
          };
          stdin.on("drain", done).on("close", done);
        });
      }
    }
    stdin.end();
  };
  const feeding = feed().catch((e: unknown) => {
    // The input failed: the program must not take what it got for the whole.
    child.kill("SIGKILL");
    throw e;
  });
  // The program is gone before an error of its input is passed on: nothing writes behind the caller's back.
  const [end] = await Promise.allSettled([ended, feeding]);
  await feeding;
  if (end.status === "rejected") throw end.reason as Error;
  const exitCode = end.value;
  return { exitCode, stdout: concatBytes(...stdout), stderr: decodeText(concatBytes(...stderr)) };
};

function signalNumber(signal: NodeJS.Signals): number {
  return (
    { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 }[
      signal as string
    ] ?? 0
  );
}
