/**
 * Typed errors with closed codes.
 *
 * Every failure a user can cause or meet is an {@link OtaError} whose `code` stands in one of the tables of
 * `error-codes/`; its class decides the exit code. Any other exception is a bug.
 */
import { ANDROID_CODES } from "./error-codes/android.ts";
import { CORE_CODES } from "./error-codes/core.ts";
import { DELTA_CODES } from "./error-codes/delta.ts";
import { DEVICE_CODES } from "./error-codes/device.ts";
import { K230_CODES } from "./error-codes/k230.ts";
import { REHEARSE_CODES } from "./error-codes/rehearse.ts";
import { SIGMASTAR_INSTALL_CODES } from "./error-codes/sigmastar-install.ts";
import { SIGMASTAR_CODES } from "./error-codes/sigmastar.ts";
import { TRUST_CODES } from "./error-codes/trust.ts";

/** What kind of failure a code is; each class has one exit code. */
export type ErrorClass = "usage" | "format" | "trust" | "mismatch" | "device" | "interrupted";

/** Exit code of each class, the same for every command of ours. 0 is success, 70 a bug. */
export const EXIT_CODES: Readonly<Record<ErrorClass, number>> = Object.freeze({
  usage: 2,
  format: 3,
  trust: 4,
  mismatch: 5,
  device: 6,
  interrupted: 7,
});

/** Every code with its class and meaning. */
export const ERROR_CODES = Object.freeze({
  ...CORE_CODES,
  ...DEVICE_CODES,
  ...DELTA_CODES,
  ...SIGMASTAR_CODES,
  ...SIGMASTAR_INSTALL_CODES,
  ...K230_CODES,
  ...ANDROID_CODES,
  ...TRUST_CODES,
  ...REHEARSE_CODES,
}) satisfies Readonly<Record<string, readonly [ErrorClass, string]>>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** The parts of an error's sentence. Everything is plain JSON, so `--json` prints it as it is. */
export interface ErrorDetails {
  /** What went wrong, a phrase without a full stop. */
  readonly what: string;
  /** Where: a hex offset (`0x10`), an entry's or a field's name, a path. */
  readonly where?: string;
  readonly expected?: string | number;
  readonly found?: string | number;
  /** What the user can do about it, a sentence. */
  readonly hint?: string;
}

function sentence({ what, where, expected, found, hint }: ErrorDetails): string {
  let text = where === undefined ? what : `${what} (${where})`;
  if (expected !== undefined) text += `: expected ${expected}`;
  if (found !== undefined) text += `${expected === undefined ? ": " : ", "}found ${found}`;
  return hint === undefined ? text : `${text}. ${hint}`;
}

/** A failure with a closed code. `message` is one sentence made of the details. */
export class OtaError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails | string, cause?: unknown) {
    const full = typeof details === "string" ? { what: details } : details;
    super(sentence(full), cause === undefined ? undefined : { cause });
    this.name = "OtaError";
    this.code = code;
    this.details = full;
  }

  /** Class of the code: what a caller may treat alike. */
  get kind(): ErrorClass {
    return ERROR_CODES[this.code][0];
  }

  get exitCode(): number {
    return EXIT_CODES[this.kind];
  }

  /** Plain JSON for `--json`: `{code, kind, message, what, where?, expected?, found?, hint?}`. */
  toJSON(): Record<string, unknown> {
    return { code: this.code, kind: this.kind, message: this.message, ...this.details };
  }
}

/** Whether `e` is an {@link OtaError}, and of `code` when one is given. */
export function isOtaError(e: unknown, code?: ErrorCode): e is OtaError {
  return e instanceof OtaError && (code === undefined || e.code === code);
}
