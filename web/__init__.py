"""The page's files: HTML, CSS, ES modules, and below `node_modules` what they take from npm. Served by `gateway.pages`."""
