"""Files of the web page, served by `gateway.pages`: HTML, CSS, ES modules, and npm packages in `node_modules`."""
