"""The page's Jinja template: plain HTML, no script, nothing from the network."""

TEMPLATE = """\
{%- extends "base" -%}
{%- block title -%}
{{ subject.name }}: evaluation of {{ subject.date.strftime("%Y-%m-%d") }}, \
{{ "blessed" if verdict.blessed else "refused" }}
{%- endblock %}
{% block body -%}
<h1>Evaluation: {{ subject.name }}</h1>
<p class="verdict{% if not verdict.blessed %} missed{% endif %}">
{%- if verdict.blessed %}Blessed{% else %}Refused: {{ missed }} of {{ verdict.checks | length }} limits \
missed{% endif %}</p>
<table class="facts">
{%- for name, value in subject.rows %}
<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</table>
<h2>Limits</h2>
<table class="rows">
<thead><tr><th>head</th><th>figure over the test split</th><th class="number">value</th>
<th class="number">at least</th><th class="number">at most</th><th></th></tr></thead>
<tbody>
{%- for check in verdict.checks %}
<tr><td>{{ check.head }}</td><td>{{ check.key | breakable }}
{%- if check.tracks and not check.met %}: {{ check.tracks | join(", ") }}{% endif %}</td>
<td class="number" data-name="value">{{ number(check.value) }}</td>
<td class="number" data-name="at least">{{ number(check.least) }}</td>
<td class="number" data-name="at most">{{ number(check.most) }}</td>
<td{% if not check.met %} class="missed"{% endif %}>{{ "met" if check.met else "missed" }}</td></tr>
{%- endfor %}
</tbody></table>
<p>Predictions are those of the model's endpoint {{ verdict.endpoint }}.</p>
{%- for change in changes %}
<p>{{ change }}</p>
{%- endfor %}
{%- for head in heads %}
<h2>{{ head.name }}</h2>
{%- for table in head.tables %}
<table class="rows">
<thead><tr><th>{{ table.title }}</th>
{%- for count in table.counts %}<th class="number">{{ count }}</th>{% endfor %}
{%- for mean in table.means %}<th class="number">{{ mean | breakable }}</th>{% endfor %}
<th class="number">undefined</th></tr></thead>
<tbody>
{%- for row in table.rows %}
<tr><td>{{ row.name }}</td>
{%- for count in row.counts %}<td class="number" data-name="{{ table.counts[loop.index0] }}">{{ count }}</td>
{%- endfor %}
{%- for value in row.figures %}
<td class="number" data-name="{{ table.means[loop.index0] }}">{{ number(value) }}</td>
{%- endfor %}
<td class="number" data-name="undefined">{{ row.undefined }}</td></tr>
{%- endfor %}
</tbody></table>
<p>Means over tracks; undefined: tracks without a {{ table.undefined }}, left out of its mean.</p>
{%- endfor %}
<h3>{{ metric }} by assay</h3>
<img alt="Histograms of {{ metric }} by assay" src="{{ head.histograms }}">
{%- if head.signals %}
<h3>Best and worst tracks by {{ metric }}</h3>
<img alt="Measured and predicted signal" src="{{ head.signals }}">
{%- endif %}
{%- endfor %}
<h2>Training</h2>
{%- if curves %}
<img alt="Training curves" src="{{ curves }}">
{%- else %}
<p>No curves were logged.</p>
{%- endif %}
{%- endblock %}
"""
