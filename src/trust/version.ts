/**
 * Versions that can be ordered without guessing: decimal numbers joined by dots, and an optional suffix behind `-` that
 * comes before the version without it (`2.0.0-rc1` < `2.0.0`). Anything else (a leading `v`, spaces, digits of other
 * scripts, leading zeros) is refused, because two readers could order it differently.
 */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";

const FORM = /^(0|[1-9][0-9]{0,14})(\.(0|[1-9][0-9]{0,14})){0,7}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$/;

export interface Version {
  readonly text: string;
  readonly numbers: readonly number[];
  /** Parts of the suffix; empty when there is none. */
  readonly suffix: readonly string[];
}

/** Whether a text is a version. */
export function isOrdered(text: string): boolean {
  return text.length <= 63 && FORM.test(text);
}

/** @throws OtaError TRUST_VERSION */
export function parseVersion(text: string): Version {
  if (!isOrdered(text)) {
    throw new OtaError("TRUST_VERSION", {
      what: "not a version that can be ordered",
      expected: "numbers joined by dots, such as 1.10.3 or 2.0.0-rc1, at most 63 characters",
      found: JSON.stringify(printable(text.slice(0, 80))),
    });
  }
  const dash = text.indexOf("-");
  const main = dash < 0 ? text : text.slice(0, dash);
  return {
    text,
    numbers: main.split(".").map(Number),
    suffix: dash < 0 ? [] : text.slice(dash + 1).split(/[.-]/),
  };
}

function compareSuffix(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return a.length === b.length ? 0 : a.length === 0 ? 1 : -1;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const x = a[i];
    const y = b[i];
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1;
    const numeric = /^[0-9]+$/;
    if (numeric.test(x) && numeric.test(y)) {
      const d = BigInt(x) - BigInt(y);
      if (d !== 0n) return d < 0n ? -1 : 1;
    } else if (numeric.test(x) !== numeric.test(y)) return numeric.test(x) ? -1 : 1;
    else if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

/** Negative, 0 or positive as `a` is older than, the same as or newer than `b`; missing numbers count as 0. */
export function compareVersions(a: Version, b: Version): number {
  for (let i = 0; i < Math.max(a.numbers.length, b.numbers.length); i++) {
    const d = (a.numbers[i] ?? 0) - (b.numbers[i] ?? 0);
    if (d !== 0) return d;
  }
  return compareSuffix(a.suffix, b.suffix);
}
