<#
.SYNOPSIS
    Runs the HLK-style suite on this machine under the real Driver Verifier, collects what came of it, and restores the machine.
.DESCRIPTION
    For a test machine, from an elevated prompt, with wskguard installed (install.ps1) and test signing on. It runs in stages, each
    after a restart: `standard` (verifier /standard, which has special pool, IRQL, pool, I/O, deadlock, DMA, security and DDI compliance
    checks) over the whole suite and the questions to the provider, then `low-resources` (the same and random failures of
    the driver's allocations) over the tests that expect them. A task that runs at startup goes on after a restart; with -NoTask
    the same command is to be given again. At the end, or with -Restore, the verifier's settings, the crash dump settings and the
    test services are as they were.
.PARAMETER Suite
    Folder with hlk.exe and probe.sys, built by `cargo xtask build` or on Windows, signed with the certificate of the package.
.PARAMETER Results
    Where reports, answers, logs and dumps go.
.PARAMETER Peer
    An address and port of another machine that accepts TCP connections: the question about keep-alive waits until it is cut off.
.PARAMETER Extended
    Let the tests of endurance take minutes.
.PARAMETER NoTask
    Do not go on by itself after a restart.
.PARAMETER NoRestart
    Ask for a restart rather than restarting.
.PARAMETER Restore
    Only put everything back.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [string] $Suite = (Join-Path (Split-Path -Parent $PSScriptRoot) 'suite'),
    [string] $Results = (Join-Path $env:ProgramData 'wskguard-hlk'),
    [string] $Peer = '',
    [switch] $Extended,
    [switch] $NoTask,
    [switch] $NoRestart,
    [switch] $Restore
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
. "$PSScriptRoot\common.ps1"

$TaskName = 'wskguard-hlk'
$StateFile = Join-Path $Results 'state.json'
$CrashControl = 'HKLM:\SYSTEM\CurrentControlSet\Control\CrashControl'
$MemoryManagement = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management'
$Probes = 'probe', 'probe2'
# Special pool, IRQLs, pool tracking, I/O, deadlocks, DMA, security, miscellaneous, DDI compliance: what /standard stands for.
$StandardFlags = 0x209BB
$LowResources = 0x4
$Stages = @(
    @{ Name = 'standard'; Flags = $StandardFlags; Arguments = @('--skip', 'Low resources') },
    @{ Name = 'low-resources'; Flags = ($StandardFlags -bor $LowResources); Arguments = @('--filter', 'Low resources') }
)
# Random failures begin eight minutes after the start of the system.
$QuietMinutes = 9

function Get-Setting {
    param([string] $Key, [string] $Name)
    $item = Get-ItemProperty -Path $Key
    if ($item.PSObject.Properties.Name -contains $Name) { return $item.$Name }
    $null
}

function Set-Setting {
    param([string] $Key, [string] $Name, $Value, [string] $Type)
    if ($null -eq $Value) {
        Remove-ItemProperty -Path $Key -Name $Name -ErrorAction SilentlyContinue
    }
    else {
        Set-ItemProperty -Path $Key -Name $Name -Value $Value -Type $Type
    }
}

function Save-State {
    param($State)
    $State | ConvertTo-Json | Set-Content -Path $StateFile -Encoding UTF8
}

# What is changed is written down before it is changed.
function New-State {
    if (Get-Setting $MemoryManagement 'VerifyDrivers') {
        throw 'Driver Verifier is on already. Turn it off (verifier /reset), restart, and run this again.'
    }
    [pscustomobject] @{
        Stage = -1
        Dump = Get-Setting $CrashControl 'CrashDumpEnabled'
        AutoReboot = Get-Setting $CrashControl 'AutoReboot'
        Began = (Get-Date).ToString('o')
        Failed = 0
    }
}

function Install-Probe {
    foreach ($name in $Probes) {
        $file = Join-Path $env:SystemRoot "System32\drivers\$name.sys"
        Copy-Item (Join-Path $Suite 'probe.sys') $file -Force
        if (-not (Get-Service -Name $name -ErrorAction SilentlyContinue)) {
            Invoke-Tool 'sc.exe' @('create', $name, 'type=', 'kernel', 'start=', 'demand', 'binPath=', $file) | Out-Null
        }
    }
}

function Remove-Probe {
    foreach ($name in $Probes) {
        # 1060: there is no such service. 1062: it does not run.
        Invoke-Tool 'sc.exe' @('stop', $name) @(0, 1060, 1062) | Out-Null
        Invoke-Tool 'sc.exe' @('delete', $name) @(0, 1060, 1072) | Out-Null
        Remove-Item (Join-Path $env:SystemRoot "System32\drivers\$name.sys") -ErrorAction SilentlyContinue
    }
}

function Register-Resume {
    $script = Join-Path $PSScriptRoot 'hlk.ps1'
    $words = @('-NoProfile', '-ExecutionPolicy', 'Bypass', '-File', "`"$script`"", '-Suite', "`"$Suite`"", '-Results', "`"$Results`"")
    if ($Peer) { $words += @('-Peer', $Peer) }
    if ($Extended) { $words += '-Extended' }
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument ($words -join ' ')
    $trigger = New-ScheduledTaskTrigger -AtStartup
    $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit (New-TimeSpan -Hours 6)
    Register-ScheduledTask -TaskName $TaskName -Action $action -Trigger $trigger -Settings $settings -User 'SYSTEM' -RunLevel Highest -Force | Out-Null
}

function Set-Verifier {
    param([int] $Flags)
    # 0: nothing changed. 2: done, and in force after a restart.
    $words = @('/flags', ('0x{0:X}' -f $Flags), '/driver', 'wskguard.sys', 'probe.sys', 'probe2.sys')
    Invoke-Tool 'verifier.exe' $words @(0, 2) | Out-Host
}

# The verifier's bug checks are the suite's findings: each leaves a dump, and the machine starts again and goes on.
function Set-Dump {
    Set-Setting $CrashControl 'CrashDumpEnabled' 2 'DWord'
    Set-Setting $CrashControl 'AutoReboot' 1 'DWord'
}

function Invoke-Stage {
    param($Stage, $State)
    $began = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime
    if ($Stage.Flags -band $LowResources) {
        $wait = $QuietMinutes * 60 - ((Get-Date) - $began).TotalSeconds
        if ($wait -gt 0) { Start-Sleep -Seconds ([int] $wait) }
    }
    Start-Guard
    foreach ($name in $Probes) {
        # 1056: it runs already.
        Invoke-Tool 'sc.exe' @('start', $name) @(0, 1056) | Out-Null
    }
    $folder = Join-Path $Results $Stage.Name
    New-Item -ItemType Directory -Path $folder -Force | Out-Null
    $words = @('run') + $Stage.Arguments + @('--junit', (Join-Path $folder 'junit.xml'), '--tap', (Join-Path $folder 'results.tap'))
    if ($Stage.Name -eq 'standard') { $words += @('--answers', (Join-Path $folder 'answers.md')) }
    if ($Extended) { $words += '--extended' }
    if ($Peer) { $words += @('--peer', $Peer) }
    & (Join-Path $Suite 'hlk.exe') @words 2>&1 | Tee-Object -FilePath (Join-Path $folder 'hlk.log') | Out-Host
    if ($LASTEXITCODE -ne 0) { $State.Failed += 1 }
    verifier.exe /query | Set-Content (Join-Path $folder 'verifier.txt')
    $ctl = Join-Path (Get-PackageFolder) 'wskguardctl.exe'
    & $ctl status --json | Set-Content (Join-Path $folder 'status.json')
}

function Copy-Evidence {
    param($State)
    $since = [datetime]::Parse($State.Began, $null, [Globalization.DateTimeStyles]::RoundtripKind)
    $dumps = Join-Path $Results 'dumps'
    New-Item -ItemType Directory -Path $dumps -Force | Out-Null
    $candidates = @(
        (Join-Path $env:SystemRoot 'MEMORY.DMP'),
        (Join-Path $env:SystemRoot 'Minidump\*.dmp'),
        (Join-Path $env:SystemRoot 'LiveKernelReports\*.dmp')
    )
    Get-Item -Path $candidates -ErrorAction SilentlyContinue |
        Where-Object { $_.LastWriteTime -ge $since } |
        Copy-Item -Destination $dumps -Force
    Get-WinEvent -FilterHashtable @{ LogName = 'System'; StartTime = $since } -ErrorAction SilentlyContinue |
        Where-Object { $_.Message -match 'wskguard|bugcheck' } |
        Format-List TimeCreated, ProviderName, Id, Message |
        Out-File (Join-Path $Results 'events.txt')
    if (Get-ChildItem $dumps) { Write-Warning "Dumps were left: see $dumps." }
}

function Restore-Machine {
    param($State)
    Unregister-ScheduledTask -TaskName $TaskName -Confirm:$false -ErrorAction SilentlyContinue
    Invoke-Tool 'verifier.exe' @('/reset') @(0, 2) | Out-Host
    Remove-Probe
    if ($State) {
        Set-Setting $CrashControl 'CrashDumpEnabled' $State.Dump 'DWord'
        Set-Setting $CrashControl 'AutoReboot' $State.AutoReboot 'DWord'
        Remove-Item $StateFile
    }
    Write-Host 'Restored. The verifier is off after the next restart.'
}

function Restart-Machine {
    if ($NoRestart) {
        Write-Host 'Restart now; then the suite goes on, by its task or when this script is run again.'
    }
    else {
        Restart-Computer -Force
    }
}

New-Item -ItemType Directory -Path $Results -Force | Out-Null
$state = $null
if (Test-Path $StateFile) { $state = Get-Content $StateFile -Raw | ConvertFrom-Json }
if ($Restore) {
    Restore-Machine $state
    exit 0
}
if (-not $state) {
    Assert-Windows
    Assert-TestSigning
    $state = New-State
    foreach ($stage in $Stages) {
        Remove-Item (Join-Path $Results $stage.Name) -Recurse -Force -ErrorAction SilentlyContinue
    }
    Save-State $state
    Install-Probe
    Set-Dump
    if (-not $NoTask) { Register-Resume }
}
elseif ($state.Stage -ge 0) {
    # A stage that a bug check ended counts as run: its dump is its result.
    $stage = $Stages[$state.Stage]
    $log = Join-Path (Join-Path $Results $stage.Name) 'hlk.log'
    if (Test-Path $log) {
        Write-Warning "The stage $($stage.Name) did not come to its end."
        $state.Failed += 1
    }
    else {
        Invoke-Stage $stage $state
    }
}
$state.Stage += 1
if ($state.Stage -lt $Stages.Count) {
    Set-Verifier $Stages[$state.Stage].Flags
    Save-State $state
    Restart-Machine
    exit 3010
}
Copy-Evidence $state
$failed = $state.Failed
Restore-Machine $state
Write-Host "Done: $failed of $($Stages.Count) stages failed. Everything is in $Results."
exit $failed
