/** Once for all laboratory tests: kernel, initial RAM file system, Node's disk, and a disk with our build. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ext4Image, workFolder } from "./machine.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

/** A disk with `/app/bin`, `/app/dist` and the libraries they need at run time. */
function appImage(folder: string): string {
  if (!existsSync(join(PROJECT, "dist/cli/otaforge.js"))) throw new Error("no build: run npm run build first");
  const app = join(folder, "app");
  mkdirSync(app);
  for (const name of ["bin", "dist", "package.json"]) cpSync(join(PROJECT, name), join(app, name), { recursive: true });
  const listed = execFileSync("npm", ["ls", "--omit=dev", "--all", "--parseable"], {
    cwd: PROJECT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const libraries = listed
    .split("\n")
    .map((path) => path.slice(path.indexOf("/node_modules/") + 1))
    .filter((path) => path.startsWith("node_modules/"));
  for (const path of new Set(libraries)) {
    cpSync(join(PROJECT, path), join(app, path), { recursive: true, dereference: true });
  }
  const image = join(folder, "app.ext4");
  ext4Image(image, 128 * 1024 * 1024, app);
  rmSync(app, { recursive: true });
  return image;
}

export default function setup(): () => void {
  const printed = execFileSync("bash", [join(HERE, "prepare.sh")], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const folder = workFolder();
  process.env["OTAFORGE_LAB_FOLDER"] = printed.trim().split("\n").at(-1);
  process.env["OTAFORGE_LAB_APP"] = appImage(folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
