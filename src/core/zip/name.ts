/** What a zip entry may be called: a relative path of portable parts, so that no reader ever leaves its folder. */
import { OtaError } from "../errors.ts";
import { printable } from "../text.ts";

/** Why `name` cannot be an entry's name; undefined when it can. A trailing `/` marks a folder. */
export function zipNameProblem(name: string): string | undefined {
  if (name === "" || name === "/") return "the name is empty";
  if (name.startsWith("/")) return "the name is absolute";
  if (name.includes("\\")) return "the name has a backslash";
  if (/^[A-Za-z]:/.test(name)) return "the name begins with a drive letter";
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c < 32 || c === 127) return "the name has a control character";
  }
  const parts = (name.endsWith("/") ? name.slice(0, -1) : name).split("/");
  if (parts.includes("..")) return "the name has a part ..";
  if (parts.includes(".")) return "the name has a part .";
  if (parts.includes("")) return "the name has an empty part";
  return undefined;
}

/** @throws OtaError ZIP_NAME */
export function checkZipName(name: string): void {
  const problem = zipNameProblem(name);
  if (problem !== undefined) {
    throw new OtaError("ZIP_NAME", { what: problem, where: `entry ${printable(name)}` });
  }
}
