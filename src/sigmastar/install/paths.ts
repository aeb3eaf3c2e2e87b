/** Paths that come from packages: data, to be refused when they are anything but a plain absolute path. */
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";

function refuse(text: string, where: string, what: string): OtaError {
  return new OtaError("SIGMASTAR_PATH", {
    what,
    where,
    expected: "an absolute path without `..`",
    found: JSON.stringify(printable(text)),
  });
}

/**
 * A destination as the device's ports want it: absolute, single slashes, no `.` parts (`/config//x` is `/config/x`).
 * `where` names the record for the message.
 *
 * @throws OtaError SIGMASTAR_NO_DESTINATION, SIGMASTAR_PATH for relative paths, `..`, a closing slash and NUL
 */
export function devicePath(text: string, where: string): string {
  if (text === "") {
    throw new OtaError("SIGMASTAR_NO_DESTINATION", { what: "the record names no destination", where });
  }
  if (!text.startsWith("/")) throw refuse(text, where, "the destination is a relative path");
  if (text.includes("\0")) throw refuse(text, where, "the destination holds a NUL byte");
  if (text.endsWith("/")) throw refuse(text, where, "the destination names a folder");
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw refuse(text, where, "the destination leads out of its folder");
  if (parts.length === 0) throw refuse(text, where, "the destination names no file");
  return `/${parts.join("/")}`;
}

/** The folder a path lies in: `/` for `/x`. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

export function joinPath(folder: string, name: string): string {
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}
