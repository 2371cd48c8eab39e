"""The page's Jinja template: plain HTML, no script, nothing from the network."""

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ subject.name }}: evaluation of {{ subject.date.strftime("%Y-%m-%d") }}, \
{{ "blessed" if verdict.blessed else "refused" }}</title>
<style>
body { font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .9em .2em 0; text-align: left; border-bottom: 1px solid #ddd }
.long { overflow-wrap: anywhere }
.wide { overflow-x: auto }
.verdict { font-size: 1.3em; font-weight: bold }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.missed { color: #b00; font-weight: bold }
img { max-width: 100% }
</style>
</head>
<body>
<h1>Evaluation: {{ subject.name }}</h1>
<p class="verdict{% if not verdict.blessed %} missed{% endif %}">
{%- if verdict.blessed %}Blessed{% else %}Refused: {{ missed }} of {{ verdict.checks | length }} limits \
missed{% endif %}</p>
<table>
{%- for name, value in subject.rows %}
<tr><th>{{ name }}</th><td class="long">{{ value }}</td></tr>
{%- endfor %}
</table>
<h2>Limits</h2>
<table>
<tr><th>head</th><th>figure over the test split</th><th class="number">value</th>
<th class="number">at least</th><th class="number">at most</th><th></th></tr>
{%- for check in verdict.checks %}
<tr><td>{{ check.head }}</td><td class="long">{{ check.key }}
{%- if check.tracks and not check.met %}: {{ check.tracks | join(", ") }}{% endif %}</td>
<td class="number">{{ number(check.value) }}</td>
<td class="number">{{ number(check.least) }}</td><td class="number">{{ number(check.most) }}</td>
<td{% if not check.met %} class="missed"{% endif %}>{{ "met" if check.met else "missed" }}</td></tr>
{%- endfor %}
</table>
<p>Predictions are those of the model's endpoint {{ verdict.endpoint }}.</p>
{%- for change in changes %}
<p>{{ change }}</p>
{%- endfor %}
{%- for head in heads %}
<h2>{{ head.name }}</h2>
{%- for table in head.tables %}
<div class="wide"><table>
<tr><th>{{ table.title }}</th>
{%- for count in table.counts %}<th class="number">{{ count }}</th>{% endfor %}
{%- for mean in table.means %}<th class="number">{{ mean }}</th>{% endfor %}
<th class="number">undefined</th></tr>
{%- for row in table.rows %}
<tr><td>{{ row.name }}</td>
{%- for count in row.counts %}<td class="number">{{ count }}</td>{% endfor %}
{%- for value in row.figures %}<td class="number">{{ number(value) }}</td>{% endfor %}
<td class="number">{{ row.undefined }}</td></tr>
{%- endfor %}
</table></div>
<p>Means over tracks; undefined: tracks without a {{ table.undefined }}, left out of its mean.</p>
{%- endfor %}
<h3>{{ metric }} by assay</h3>
<img alt="Histograms of {{ metric }} by assay" src="data:image/png;base64,{{ head.histograms }}">
{%- if head.signals %}
<h3>Best and worst tracks by {{ metric }}</h3>
<img alt="Measured and predicted signal" src="data:image/png;base64,{{ head.signals }}">
{%- endif %}
{%- endfor %}
<h2>Training</h2>
{%- if curves %}
<img alt="Training curves" src="data:image/png;base64,{{ curves }}">
{%- else %}
<p>No curves were logged.</p>
{%- endif %}
</body>
</html>
"""
