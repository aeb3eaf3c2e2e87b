/** Paths in a device: absolute, `/` between parts, never leading anywhere unexpected. */
import { OtaError } from "../core/index.ts";

/**
 * The parts of an absolute path. Doubled slashes and `.` mean nothing and are left out; `..`, a NUL and a path that does not
 * begin at `/` are refused. @throws OtaError DEVICE_PATH_REFUSED
 */
export function pathParts(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (!path.startsWith("/") || path.includes("\0") || parts.includes("..")) {
    throw new OtaError("DEVICE_PATH_REFUSED", {
      what: "the path is not absolute, or holds `..` or a NUL",
      where: JSON.stringify(path),
    });
  }
  return parts;
}

/** The path in its one spelling: `/` or `/a/b`. @throws OtaError DEVICE_PATH_REFUSED */
export function normalPath(path: string): string {
  return `/${pathParts(path).join("/")}`;
}

/** Folder a path lies in; `/` for a path in the root and for the root itself. */
export function parentPath(path: string): string {
  return `/${pathParts(path).slice(0, -1).join("/")}`;
}

/** Whether `path` is `folder` or lies below it; both in normal spelling. */
export function isInside(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}
