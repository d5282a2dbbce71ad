"""The page's files, served by `gateway.pages`: HTML, CSS, ES modules, and what npm puts below `node_modules`."""
