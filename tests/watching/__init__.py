"""What operators watch by: alert rules, the dashboard, and a real Prometheus that scrapes what runs."""
