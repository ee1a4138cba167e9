// SPDX-License-Identifier: GPL-2.0-or-later
// Few files with fixed names, the same bytes wherever they are built; gateway/web/embed.py puts them into the binary.
// Vite's helper that loads what a chunk needs beforehand: ours need nothing, and half a kilobyte counts.
const plainImports = {
  name: 'plain-imports',
  enforce: 'pre',
  load: (id) => (id === '\0vite/preload-helper.js' ? 'export const __vitePreload = (load) => load();' : undefined),
};

export default {
  plugins: [plainImports],
  root: 'src',
  base: './', // also behind a reverse proxy's path
  esbuild: {
    jsxFactory: 'h',
    jsxFragment: 'Fragment',
    jsxInject: "import { h, Fragment } from 'preact'",
  },
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: 'es2020',
    modulePreload: false,
    sourcemap: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'app.js',
        assetFileNames: 'app[extname]',
        chunkFileNames: '[name].js', // en.js, zh.js, dialogs.js
      },
    },
  },
};
