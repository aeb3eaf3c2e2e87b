// Layers: core <- delta, trust, device <- sigmastar, k230, android <- rehearse, delivery <- cli, web.
const only = (room, ...allowed) => ({
  name: `layer-${room}`,
  severity: "error",
  comment: `${room} imports only: ${allowed.join(", ") || "itself"}`,
  from: { path: `^src/${room}/`, pathNot: "\\.test\\.ts$" },
  to: { path: "^src/", pathNot: [`^src/${room}/`, ...allowed.map((a) => `^src/${a}/`)] },
});
module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    only("core"),
    only("delta", "core"),
    only("trust", "core"),
    only("device", "core"),
    only("sigmastar", "core", "delta", "trust", "device"),
    only("k230", "core", "delta", "trust", "device"),
    only("android", "core", "delta", "trust", "device"),
    only("rehearse", "core", "delta", "trust", "device", "sigmastar", "k230", "android"),
    only("library", "core", "delta", "trust", "device"),
    {
      name: "core-has-no-dependencies",
      severity: "error",
      from: { path: "^src/core/", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["npm", "npm-dev", "core"] },
    },
    {
      name: "pure-rooms-import-no-node-module",
      severity: "error",
      comment: "Files named *.node.ts are the only ones of these rooms that may touch node: modules.",
      from: {
        path: "^src/(core|delta|sigmastar|k230|android|trust|rehearse)/",
        pathNot: ["\\.test\\.ts$", "\\.node\\.ts$"],
      },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "pure-files-import-no-node-files",
      severity: "error",
      from: {
        path: "^src/(core|delta|sigmastar|k230|android|trust|rehearse)/",
        pathNot: ["\\.test\\.ts$", "\\.node\\.ts$"],
      },
      to: { path: "\\.node\\.ts$" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "/assembly/" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: [".ts", ".js"],
      exportsFields: ["exports"],
      conditionNames: ["import", "node"],
    },
  },
};
