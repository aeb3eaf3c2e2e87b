// Compiles src/ to dist/. Run by `npm ci` (prepare), so that everything in bin/ works on a fresh clone.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { buildCore } from "./build-core.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const tool = (name) => fileURLToPath(new URL(`../node_modules/${name}`, import.meta.url));

rmSync(new URL("../dist", import.meta.url), { recursive: true, force: true });
// Types are checked by `npm run types`; leaving that out here halves the time of every `npm ci`.
execFileSync(process.execPath, [tool("typescript/bin/tsc"), "-p", "tsconfig.build.json", "--noCheck"], {
  cwd: root,
  stdio: "inherit",
});
await buildCore(fileURLToPath(new URL("../dist/delta/core.wasm", import.meta.url)));
// One file with all of a command in its usual form: each module of its own costs some 60 KiB of memory and a millisecond. They stand
// beside the core, which they look for there.
for (const name of ["quick-patch", "quick-diff"]) {
  await build({
    configFile: false,
    logLevel: "warn",
    build: {
      ssr: fileURLToPath(new URL(`../dist/cli/${name}.js`, import.meta.url)),
      outDir: fileURLToPath(new URL("../dist/delta", import.meta.url)),
      emptyOutDir: false,
      target: "node20",
      rollupOptions: { output: { entryFileNames: `${name}.js`, chunkFileNames: `${name}-[name].js` } },
    },
  });
}
