#!/bin/sh
read -r uptime _ < /proc/uptime
cat <<PAGE
Content-Type: text/html; charset=utf-8
Cache-Control: no-store

<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$(hostname)</title>
<style>body { font: 18px/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 34em; padding: 0 1em }</style>
</head>
<body>
<h1>$(hostname)</h1>
<p>Hello from an instance that Nano made. It has been up for ${uptime%.*} seconds.</p>
<p>Kernel $(uname -r), $(nproc) vCPU.</p>
</body>
</html>
PAGE
