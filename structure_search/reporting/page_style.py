"""The style sheet of the report: light and dark, from a phone to a wide screen."""

CSS = """
:root{--ink:#1c2733;--soft:#5c6773;--rule:#dfe5eb;--paper:#ffffff;--ground:#f4f6f9;--mark:#e8f1f8;
--accent:#2f6f9f;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e8edf2;--soft:#a7b3c0;--rule:#2b3440;
--paper:#161c23;--ground:#0f1419;--mark:#1d2c3a;--accent:#6cb2e4}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);line-height:1.5;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:1080px;margin:0 auto;padding:0 16px}
header{padding-top:28px}
h1{margin:0;font-size:26px;line-height:1.2;overflow-wrap:anywhere}
header p{margin:6px 0 18px;color:var(--soft);overflow-wrap:anywhere}
h2{margin:0 0 12px;font-size:18px}
h3{margin:0 0 6px;font-size:14px;color:var(--soft);font-weight:600}
section{background:var(--paper);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;
margin-bottom:16px}
p{margin:10px 0 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.card{border-left:3px solid var(--accent);padding:2px 0 2px 12px;min-width:0}
.card span,.card small{display:block;color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.card b{display:block;font-size:25px;line-height:1.25;font-variant-numeric:tabular-nums}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:20px}
figure{margin:0;min-width:0}
figcaption{color:var(--soft);font-size:13px;margin-top:6px}
.scroll{overflow-x:auto}
.scroll svg{display:block;height:auto;max-width:100%;min-width:min(420px,100%);margin:0 auto}
.scroll svg.chart{width:100%;min-width:min(420px,var(--w))}
.alone .scroll svg.chart{min-width:min(620px,var(--w))}
table{border-collapse:collapse;width:100%;margin-top:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;border-bottom:1px solid var(--rule);text-align:right;white-space:pre}
th{color:var(--soft);font-weight:600;font-size:13px}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}
.marked td{background:var(--mark);font-weight:600}
.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere;font-size:13px}
.facts th{text-align:left}
.facts td:first-child{color:var(--soft);white-space:nowrap}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px}
pre{margin:14px 0 0;padding:12px 14px;background:var(--ground);border-radius:8px;overflow-x:auto;
line-height:1.35}
code{background:var(--ground);padding:2px 5px;border-radius:4px;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:13px;padding-bottom:32px}
"""
